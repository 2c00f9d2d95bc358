"""The moving parts of a fine-tuning run: model, optimiser, batches, one epoch after another."""

import copy
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.cpu import usable_cores
from training.backbones.pooling import pyramid_pool
from training.backbones.registry import LoadedBackbone
from training.errors import TrainingError
from training.evaluation.calibration import calibrate
from training.evaluation.head import Classes, Features, Head, fit_head, log_loss
from training.features.augment import augmenter
from training.finetuning.checkpoint import Progress
from training.finetuning.config import FinetuneConfig
from training.finetuning.network import unfrozen
from training.finetuning.step import half_precision

_JUDGED_AT_ONCE: Final = 32  # pictures a forward pass without gradients


class Diverged(TrainingError):
    """The loss is no number any more."""


class Joint(nn.Module):
    """uint8 (N, 3, S, S) -> logits (N, K), with everything in between.

    A copy of the network: the one that is given keeps its weights and its device.
    """

    mean: Tensor
    std: Tensor
    centre: Tensor

    def __init__(self, backbone: LoadedBackbone, head: Head) -> None:
        super().__init__()
        self.network = copy.deepcopy(backbone.network).eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(backbone.spec.mean_rgb).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.spec.std_rgb).view(1, 3, 1, 1))
        self.register_buffer("centre", torch.zeros(head.weight.shape[1]))  # (F,)
        self.scale = 1.0
        self.weight = nn.Parameter(torch.from_numpy(head.weight.copy()))  # (K, F)
        self.bias = nn.Parameter(torch.from_numpy(head.bias.copy()))
        self.eval()

    def place(self, centre: Tensor, scale: float) -> None:
        """Say what is taken from features, and what they are then divided by.

        Features after a ReLU all lie on one side of zero. AdamW moves every weight by about
        the same amount, and on such features all of them together swing the logits like one
        huge bias; around their mean they do not.
        """
        self.centre.copy_(centre)
        self.scale = scale

    def features(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) -> (N, F)."""
        scaled = (pixels.to(torch.float32) - self.mean) / self.std
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        return pyramid_pool(self.network(scaled))

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.linear(
            (self.features(pixels) - self.centre) / self.scale, self.weight, self.bias
        )


class Run:
    """The moving parts of one run; its state between epochs is a `Progress`."""

    def __init__(
        self,
        backbone: LoadedBackbone,
        pixels: Tensor,
        classes: Classes,
        learn: NDArray[np.int64],
        judge: NDArray[np.int64],
        count: int,
        config: FinetuneConfig,
        device: torch.device,
    ) -> None:
        self._pixels, self._classes = pixels, classes
        self._learn, self._judge = learn, judge
        self._count, self._config, self._device = count, config, device
        width = backbone.spec.pooled_width
        blank = Head(np.zeros((count, width), np.float32), np.zeros(count, np.float32), 1.0)
        self._model = Joint(backbone, blank)
        chosen = unfrozen(self._model.network, config.unfreeze, input_px=backbone.spec.input_px)
        for parameter in chosen:
            parameter.requires_grad_(True)
        self._model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(self._parameter_groups(chosen))
        self._half = half_precision(device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._half is torch.float16)
        self._augment = augmenter(config.augmentation)
        sizes = np.bincount(classes[learn], minlength=count)
        # Each class weighs the same, and the mean weight is 1.
        self._weights = torch.tensor(len(learn) / (count * np.maximum(sizes, 1)))
        self._steps = config.epochs * -(-len(learn) // config.batch)

    def begin(self, key: str, penalty: float, features: Features | None) -> Progress:
        """Fit the head that the run starts from, on the training part only, and judge it."""
        learn, judge = self._learn, self._judge
        known = self._features(learn) if features is None else features[learn]
        held_out = self._features(judge) if features is None else features[judge]
        head = fit_head(known, self._classes[learn], count=self._count, penalty=penalty)
        centre = known.mean(axis=0, dtype=np.float64)
        scale = float((known - centre).std()) or 1.0
        wide = head.weight.astype(np.float64)
        with torch.no_grad():
            self._model.weight.copy_(torch.from_numpy(wide * scale))
            self._model.bias.copy_(torch.from_numpy(head.bias + wide @ centre))
            self._model.place(torch.from_numpy(centre), scale)
        row = self._row(0, head.logits(known), learn, head.logits(held_out), lr=0.0)
        weights = self._weights_now()
        return Progress(
            key=key,
            epoch=0,
            step=0,
            centre=self._model.centre.cpu().clone(),
            scale=scale,
            weights=weights,
            best=weights,
            best_epoch=0,
            best_loss=row["val_loss_calibrated"],
            optimiser=self._optimiser.state_dict(),
            scaler=self._scaler.state_dict(),
            history=[row],
            finished=False,
        )

    def restore(self, now: Progress) -> None:
        """Put weights and optimiser back to where an epoch left them."""
        self._model.place(now.centre, now.scale)
        self._put(now.weights)
        self._optimiser.load_state_dict(copy.deepcopy(now.optimiser))
        self._scaler.load_state_dict(now.scaler)

    def epoch(self, before: Progress, progress: Callable[[int], object]) -> Progress:
        """One pass over the training part, then a look at the validation part."""
        epoch, step = before.epoch + 1, before.step
        seed = _seed(self._config.seed, epoch)
        random = torch.Generator().manual_seed(seed)
        order = self._learn[torch.randperm(len(self._learn), generator=random).numpy()]
        logits = np.zeros((len(order), self._count))
        done, rate = 0, 0.0
        for chosen, batch in self._batches(order, epoch):
            rate = self._set_rates(step)
            logits[done : done + len(chosen)] = self._learn_from(batch, chosen)
            if not np.isfinite(logits[done : done + len(chosen)]).all():
                raise Diverged(
                    f"The loss is no number any more in epoch {epoch}: "
                    "the learning rates are too high for these pictures."
                )
            step, done = step + 1, done + len(chosen)
            progress(len(chosen))
        judged = judge(self._model, self._pixels, self._judge, self._device)
        row = self._row(epoch, logits, order, judged, lr=rate)
        weights = self._weights_now()
        loss = row["val_loss_calibrated"]
        better = loss < before.best_loss
        best_epoch = epoch if better else before.best_epoch
        return replace(
            before,
            epoch=epoch,
            step=step,
            weights=weights,
            best=weights if better else before.best,
            best_epoch=best_epoch,
            best_loss=loss if better else before.best_loss,
            optimiser=self._optimiser.state_dict(),
            scaler=self._scaler.state_dict(),
            history=[*before.history, row],
            finished=epoch == self._config.epochs or epoch - best_epoch >= self._config.patience,
        )

    def result(self, now: Progress, penalty: float) -> tuple[nn.Module, Head]:
        """The network and head of the best epoch, frozen, on the CPU."""
        self._model.place(now.centre, now.scale)
        self._put(now.best)
        model = self._model.cpu().requires_grad_(False)
        weight = model.weight.double().numpy() / now.scale
        bias = model.bias.double().numpy() - weight @ model.centre.double().numpy()
        head = Head(weight.astype(np.float32), bias.astype(np.float32), penalty)
        return model.network.eval(), head

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

    def _set_rates(self, step: int) -> float:
        """Rise in a line, fall as a cosine; gives the backbone's rate."""
        warm = max(1, round(self._config.warmup_share * self._steps))
        if step < warm:
            factor = (step + 1) / warm
        else:
            factor = (1 + math.cos(math.pi * (step - warm) / max(1, self._steps - warm))) / 2
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        return self._config.backbone_rate * factor

    def _learn_from(self, batch: Tensor, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """One optimiser step; gives the logits (b, K) from before it."""
        config, device = self._config, self._device
        wanted = torch.from_numpy(self._classes[chosen])
        weights = self._weights[wanted].to(device, torch.float32)
        with torch.autocast(device.type, self._half, enabled=self._half is not None):
            logits = self._model(batch.to(device))
        losses = functional.cross_entropy(
            logits.float(),
            wanted.to(device),
            reduction="none",
            label_smoothing=config.label_smoothing,
        )
        # A last batch of fewer pictures pulls less: each picture counts the same.
        loss = (losses * weights).sum() / config.batch
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        parameters = [item for group in self._optimiser.param_groups for item in group["params"]]
        nn.utils.clip_grad_norm_(parameters, config.gradient_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return np.asarray(logits.detach().double().cpu())

    def _batches(
        self, order: NDArray[np.int64], epoch: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Changed pictures, batch by batch; the next one is made while this one is learnt."""
        size = self._config.batch
        parts = [order[at : at + size] for at in range(0, len(order), size)]
        flying: deque[list[Future[Tensor]]] = deque()
        lane = ThreadPoolExecutor(
            usable_cores(), "augment", initializer=lambda: torch.set_num_threads(1)
        )
        try:
            for index, part in enumerate(parts):
                while len(flying) < 2 and index + len(flying) < len(parts):
                    ahead = parts[index + len(flying)]
                    flying.append([lane.submit(self._changed, int(at), epoch) for at in ahead])
                yield part, torch.stack([future.result() for future in flying.popleft()])
        finally:  # also when the caller is interrupted
            lane.shutdown(wait=True, cancel_futures=True)

    def _changed(self, place: int, epoch: int) -> Tensor:
        random = torch.Generator().manual_seed(_seed(self._config.seed, epoch, place))
        with torch.no_grad():  # whatever the calling thread has set
            return self._augment(self._pixels[place], random)

    def _features(self, places: NDArray[np.int64]) -> Features:
        parts = []
        with torch.inference_mode():
            for at in range(0, len(places), _JUDGED_AT_ONCE):
                some = torch.from_numpy(places[at : at + _JUDGED_AT_ONCE])
                parts.append(self._model.features(self._pixels[some].to(self._device)).cpu())
        return torch.cat(parts).numpy()

    def _row(
        self,
        epoch: int,
        learnt: NDArray[np.float64],
        order: NDArray[np.int64],
        judged: NDArray[np.float64],
        *,
        lr: float,
    ) -> dict[str, Any]:
        """One epoch's figures; numbers only, for the checkpoint loads nothing else."""
        seen, unseen = self._classes[order], self._classes[self._judge]
        return {
            "epoch": epoch,
            "train_loss": log_loss(learnt, seen),
            "val_loss": log_loss(judged, unseen),
            "val_loss_calibrated": calibrated_loss(judged, unseen),
            "train_accuracy": balanced_accuracy(learnt, seen),
            "val_accuracy": balanced_accuracy(judged, unseen),
            "lr": lr,
        }

    def _weights_now(self) -> dict[str, Tensor]:
        named = self._model.named_parameters()
        return {name: item.detach().cpu().clone() for name, item in named if item.requires_grad}

    def _put(self, weights: dict[str, Tensor]) -> None:
        named = dict(self._model.named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                named[name].copy_(value)


def balanced_accuracy(logits: NDArray[np.float64], classes: Classes) -> float:
    """Share of right answers, each class weighing the same."""
    right = logits.argmax(axis=1) == classes
    return float(np.mean([right[classes == k].mean() for k in np.unique(classes)]))


def calibrated_loss(logits: NDArray[np.float64], classes: Classes) -> float:
    """Log loss at the logits' own best temperature.

    What decides between epochs must not be how large the logits are: a temperature is fitted
    to them in the end anyway, label smoothing makes them small, and a fitted head large.
    """
    return log_loss(logits / calibrate(logits, classes).temperature, classes)


def judge(
    model: Joint, pixels: Tensor, places: NDArray[np.int64], device: torch.device
) -> NDArray[np.float64]:
    """Logits (m, K) of plain pictures, in float32 whatever the training precision."""
    parts = []
    with torch.inference_mode():
        for at in range(0, len(places), _JUDGED_AT_ONCE):
            some = torch.from_numpy(places[at : at + _JUDGED_AT_ONCE])
            parts.append(model(pixels[some].to(device)).double().cpu())
    return torch.cat(parts).numpy()


def _seed(*parts: int) -> int:
    """A seed for each epoch or picture; hashed, for neighbouring seeds give similar streams."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
