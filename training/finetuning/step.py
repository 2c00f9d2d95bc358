"""One optimiser step: AdamW with warm-up and cosine decay, weighted loss, clipped gradients."""

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.finetuning import team
from training.finetuning.config import FinetuneConfig
from training.finetuning.device import half_precision
from training.finetuning.network import TrainableClassifier


class TrainingStep:
    """Optimiser, learning-rate schedule, gradient scaler and loss of a run."""

    def __init__(
        self,
        model: TrainableClassifier,
        backbone_parameters: list[nn.Parameter],
        class_weights: Tensor,
        *,
        num_steps: int,
        config: FinetuneConfig,
        device: torch.device,
    ) -> None:
        """Create the optimiser.

        Args:
            model: The classifier, on its device.
            backbone_parameters: Trainable parameters of the network; the head always trains.
            class_weights: float64 (K,): weight of the loss of each class.
            num_steps: Steps of the whole run, at which the learning rates reach zero.
            config: Hyper-parameters.
            device: Where the model is.
        """
        self._model, self._config, self._device = model, config, device
        self._forward = team.with_summed_gradients(model)
        self._class_weights, self._num_steps = class_weights, num_steps
        self._optimiser = torch.optim.AdamW(self._parameter_groups(backbone_parameters))
        self._half = half_precision(device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._half is torch.float16)
        self._factor = 0.0  # of the peak learning rates, at the last step

    def __call__(self, batch: Tensor, classes: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        """Update the model once; return the logits (b, K) from before the update.

        Args:
            batch: uint8 (b, 3, S, S): this process's share of the batch.
            classes: int64 (b,).
            step: Steps done so far, which set the learning rates.
        """
        self._set_rates(step)
        targets = torch.from_numpy(classes)
        weights = self._class_weights[targets].to(self._device, torch.float32)
        with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
            logits = self._forward(batch.to(self._device))
        losses = functional.cross_entropy(
            logits.float(),
            targets.to(self._device),
            reduction="none",
            label_smoothing=self._config.label_smoothing,
        )
        # Divided by the full batch size: in a smaller last batch each picture counts the same.
        # The gradients of several processes are averaged, and theirs are to be added.
        loss = (losses * weights).sum() * team.size() / self._config.batch
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        parameters = [item for group in self._optimiser.param_groups for item in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self._config.gradient_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return np.asarray(logits.detach().double().cpu())

    @property
    def backbone_rate(self) -> float:
        """Learning rate of the backbone at the last step."""
        return self._config.backbone_rate * self._factor

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the state dicts of the optimiser and of the gradient scaler."""
        return self._optimiser.state_dict(), self._scaler.state_dict()

    def restore(self, optimiser: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Load the state dicts from `state`."""
        self._optimiser.load_state_dict(copy.deepcopy(optimiser))
        self._scaler.load_state_dict(scaler)

    def _parameter_groups(self, backbone: list[nn.Parameter]) -> list[dict[str, Any]]:
        config, model = self._config, self._model
        matrices = [item for item in backbone if item.ndim > 1]
        vectors = [item for item in backbone if item.ndim <= 1]  # biases and normalisation
        return [
            {"params": items, "lr": rate, "peak": rate, "weight_decay": decay}
            for items, rate, decay in (
                (matrices, config.backbone_rate, config.weight_decay),
                (vectors, config.backbone_rate, 0.0),
                ([model.weight], config.head_rate, config.weight_decay),
                ([model.bias], config.head_rate, 0.0),
            )
            if items
        ]

    def _set_rates(self, step: int) -> None:
        """Raise the learning rates linearly to their peaks, then lower them as a cosine."""
        warmup = max(1, round(self._config.warmup_share * self._num_steps))
        if step < warmup:
            self._factor = (step + 1) / warmup
        else:
            decay_steps = max(1, self._num_steps - warmup)
            self._factor = (1 + math.cos(math.pi * (step - warmup) / decay_steps)) / 2
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * self._factor
