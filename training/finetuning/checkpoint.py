"""Checkpoint of a fine-tuning run: one file, replaced atomically after each epoch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import fsync
from training.errors import OutputError, TrainingError

CHECKPOINT: Final = "checkpoint.pt"
_FORMAT: Final = 1
_PICTURES_PER_HASH_UPDATE: Final = 64  # about 10 MB, whatever the data set's size


class CheckpointMismatch(TrainingError):
    """The checkpoint belongs to another run, or cannot be read."""

    code = "checkpoint_mismatch"


@dataclass
class RunState:
    """State of a run after an epoch.

    Random draws are functions of seed, epoch and picture, and need no state.

    Attributes:
        key: `fingerprint` of the run.
        epoch: Epochs done.
        step: Optimiser steps done.
        centre: Subtracted from features before the head (F,).
        scale: Divides the centred features.
        weights: Trainable parameters of backbone and head, by name.
        best: Trainable parameters at the best epoch.
        best_epoch: The best epoch; 0 is the start.
        best_loss: Calibrated validation loss at the best epoch.
        optimiser: State dict of the optimiser.
        scaler: State dict of the gradient scaler; empty without one.
        history: One row per epoch.
        finished: True if the run has ended.
    """

    key: str
    epoch: int
    step: int
    centre: Tensor
    scale: float
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    best_loss: float
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    history: list[dict[str, Any]]
    finished: bool


def fingerprint(
    settings: Mapping[str, Any],
    pixels: Tensor,
    indices: NDArray[np.int64],
    *arrays: NDArray[np.int64],
) -> str:
    """Hash all that a run's result depends on: settings, backbone, pictures, classes, groups.

    Args:
        settings: Values that JSON can hold.
        pixels: uint8 (n, 3, S, S).
        indices: Pictures of the run (m,).
        arrays: One value for each of these pictures (m,).
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in (indices, *arrays):
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    for chunk in torch.split(torch.from_numpy(indices), _PICTURES_PER_HASH_UPDATE):
        digest.update(pixels[chunk].numpy().tobytes())
    return digest.hexdigest()


def save(folder: Path, state: RunState) -> None:
    """Write the checkpoint to a temporary file, sync it, and rename it.

    Raises:
        OutputError: It cannot be written; the previous checkpoint still exists.
    """
    partial = folder / f"{CHECKPOINT}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            torch.save({"format": _FORMAT, **vars(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / CHECKPOINT)
        fsync.sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise OutputError(f"{partial} cannot be written ({reason}).") from error


def load(folder: Path, key: str, *, strict: bool = True) -> RunState | None:
    """Read the checkpoint of a run; return None if there is none.

    Args:
        folder: Folder of the checkpoint.
        key: `fingerprint` of the run.
        strict: Refuse another run's checkpoint; otherwise it counts as none.

    Raises:
        CheckpointMismatch: Strict, and it belongs to another run or cannot be read.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    advice = "run without --resume to start over, or give another --checkpoint folder."
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            raise ValueError("of another version of this program")
        state = RunState(**content)
    except Exception as error:  # unpickling a broken file can raise any exception
        if not strict:
            return None
        raise CheckpointMismatch(f"{path} is not a readable checkpoint: {advice}") from error
    if state.key != key and not strict:
        return None
    if state.key != key:
        raise CheckpointMismatch(
            f"{path} is of a run on other pictures, labels, groups, weights or settings: {advice}"
        )
    return state
