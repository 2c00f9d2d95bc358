"""Epochs of a fine-tuning run: start from a fitted head, train, validate, keep the best epoch."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.backbones.registry import LoadedBackbone
from training.errors import TrainingError
from training.evaluation.calibration import fit_temperature
from training.evaluation.head import Classes, Features, Head, fit_head, log_loss
from training.evaluation.metrics import balanced_accuracy
from training.features.augment import make_augment
from training.finetuning import team
from training.finetuning.checkpoint import RunState
from training.finetuning.config import FinetuneConfig
from training.finetuning.network import TrainableClassifier, trainable_parameters
from training.finetuning.pixels import LabelledPixels, iterate_batches
from training.finetuning.step import TrainingStep


class Diverged(TrainingError):
    """The loss is NaN or infinite."""

    code = "diverged"


class Run:
    """Model and optimiser of one run; its state between epochs is a `RunState`."""

    def __init__(
        self,
        backbone: LoadedBackbone,
        data: LabelledPixels,
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        config: FinetuneConfig,
        device: torch.device,
    ) -> None:
        """Copy the backbone to the device and create the optimiser.

        Args:
            backbone: The pretrained network.
            data: The pictures.
            train: Indices of the training part.
            validation: Indices of the validation part.
            config: Hyper-parameters.
            device: Where to compute.
        """
        self._data, self._train, self._validation = data, train, validation
        self._config = config
        num_classes, width = data.num_classes, backbone.spec.pooled_width
        blank = Head(
            np.zeros((num_classes, width), np.float32), np.zeros(num_classes, np.float32), 1.0
        )
        self._model = TrainableClassifier(backbone, blank)
        unfrozen = trainable_parameters(
            self._model.network, config.unfreeze, input_px=backbone.spec.input_px
        )
        for parameter in unfrozen:
            parameter.requires_grad_(True)
        self._model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        sizes = np.bincount(data.classes[train], minlength=num_classes)
        self._step = TrainingStep(
            self._model,
            unfrozen,
            # Classes have equal weight, and the mean weight is 1.
            torch.tensor(len(train) / (num_classes * np.maximum(sizes, 1))),
            num_steps=config.epochs * -(-len(train) // config.batch),
            config=config,
            device=device,
        )
        self._augment = make_augment(config.augmentation)

    def begin(self, key: str, penalty: float, features: Features) -> RunState:
        """Fit the starting head on the training part only, and return the state of epoch 0.

        Args:
            key: Fingerprint of the run.
            penalty: Inverse L2 strength C of the head.
            features: (n, F) of the backbone.
        """
        train, validation = self._train, self._validation
        known, held_out = features[train], features[validation]
        head = fit_head(known, self._data.classes[train], penalty=penalty)
        centre = known.mean(axis=0, dtype=np.float64)
        scale = float((known - centre).std()) or 1.0
        weight = head.weight.astype(np.float64)
        with torch.no_grad():
            self._model.weight.copy_(torch.from_numpy(weight * scale))
            self._model.bias.copy_(torch.from_numpy(head.bias + weight @ centre))
            self._model.standardise(torch.from_numpy(centre), scale)
        row = self._row(0, head.logits(known), train, head.logits(held_out), rate=0.0)
        weights = self._model.trainable_state()
        optimiser, scaler = self._step.state()
        return RunState(
            key=key,
            epoch=0,
            step=0,
            centre=self._model.centre.cpu().clone(),
            scale=scale,
            weights=weights,
            best=weights,
            best_epoch=0,
            best_loss=row["val_loss_calibrated"],
            optimiser=optimiser,
            scaler=scaler,
            history=[row],
            finished=False,
        )

    def restore(self, state: RunState) -> None:
        """Load weights and optimiser from a checkpoint."""
        self._model.standardise(state.centre, state.scale)
        self._model.load_trainable_state(state.weights)
        self._step.restore(state.optimiser, state.scaler)

    def epoch(self, before: RunState, advance: Callable[[int], object]) -> RunState:
        """Train on the training part once, validate, and return the new state.

        Raises:
            Diverged: The loss is NaN or infinite.
        """
        number, step = before.epoch + 1, before.step
        random = torch.Generator().manual_seed(_seed(self._config.seed, number))
        order = self._train[torch.randperm(len(self._train), generator=random).numpy()]
        batches = np.split(
            np.arange(len(order)), range(self._config.batch, len(order), self._config.batch)
        )
        own = [team.own_share(batch) for batch in batches]
        logits = np.zeros((len(order), self._data.num_classes))
        pictures = iterate_batches(
            [order[share] for share in own],
            lambda index: self._augmented(index, number),
            self._data.pixels[:0],
        )
        for batch, share, augmented in zip(batches, own, pictures, strict=True):
            logits[share] = self._step(augmented, self._data.classes[order[share]], step)
            step += 1
            advance(len(batch))
        if not np.isfinite(team.total(logits)).all():
            raise Diverged(
                f"The loss is NaN or infinite in epoch {number}: "
                "the learning rates are too high for these pictures."
            )
        validated = self._validate()
        row = self._row(number, logits, order, validated, rate=self._step.backbone_rate)
        weights = self._model.trainable_state()
        optimiser, scaler = self._step.state()
        loss = row["val_loss_calibrated"]
        improved = loss < before.best_loss
        best_epoch = number if improved else before.best_epoch
        return replace(
            before,
            epoch=number,
            step=step,
            weights=weights,
            best=weights if improved else before.best,
            best_epoch=best_epoch,
            best_loss=loss if improved else before.best_loss,
            optimiser=optimiser,
            scaler=scaler,
            history=[*before.history, row],
            finished=number == self._config.epochs or number - best_epoch >= self._config.patience,
        )

    def result(self, state: RunState, penalty: float) -> tuple[nn.Module, Head]:
        """Return the network and head of the best epoch, frozen, on the CPU."""
        self._model.standardise(state.centre, state.scale)
        self._model.load_trainable_state(state.best)
        model = self._model.cpu().requires_grad_(False)
        weight = model.weight.double().numpy() / state.scale
        bias = model.bias.double().numpy() - weight @ model.centre.double().numpy()
        head = Head(weight.astype(np.float32), bias.astype(np.float32), penalty)
        return model.network.eval(), head

    def _validate(self) -> NDArray[np.float64]:
        """Return the logits (m, K) of the validation part; each process predicts its share."""
        own = team.own_share(np.arange(len(self._validation)))
        logits = np.zeros((len(self._validation), self._data.num_classes))
        logits[own] = self._model.predict(self._data.pixels, self._validation[own])
        return team.total(logits)

    def _augmented(self, index: int, epoch: int) -> Tensor:
        random = torch.Generator().manual_seed(_seed(self._config.seed, epoch, index))
        with torch.no_grad():  # in worker threads gradients are on
            return self._augment(self._data.pixels[index], random)

    def _row(
        self,
        epoch: int,
        train_logits: NDArray[np.float64],
        train: NDArray[np.int64],
        validation_logits: NDArray[np.float64],
        *,
        rate: float,
    ) -> dict[str, Any]:
        """Return the metrics of an epoch; only numbers, because checkpoints load nothing else."""
        train_classes = self._data.classes[train]
        classes = self._data.classes[self._validation]
        return {
            "epoch": epoch,
            "train_loss": log_loss(train_logits, train_classes),
            "val_loss": log_loss(validation_logits, classes),
            "val_loss_calibrated": calibrated_loss(validation_logits, classes),
            "train_accuracy": balanced_accuracy(
                train_logits.argmax(axis=1) == train_classes, train_classes
            ),
            "val_accuracy": balanced_accuracy(validation_logits.argmax(axis=1) == classes, classes),
            "lr": rate,
        }


def calibrated_loss(logits: NDArray[np.float64], classes: Classes) -> float:
    """Return the log loss at the temperature that calibrates the logits.

    Epochs must not be compared by the size of their logits: a temperature is fitted in the end
    anyway, and label smoothing makes logits small, a fitted head large.
    """
    return log_loss(logits / fit_temperature(logits, classes), classes)


def _seed(*parts: int) -> int:
    """Return a seed per epoch or picture; hashed, because near seeds give similar streams."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
