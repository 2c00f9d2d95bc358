"""What a killed fine-tuning run needs to go on: one file, replaced in one step after each epoch."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
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
_HASHED_AT_ONCE: Final = 64  # pictures: about 10 MB, whatever the data set's size


class CheckpointMismatch(TrainingError):
    """The checkpoint is of another run, or cannot be read."""


@dataclass
class Progress:
    """A run after an epoch. Random draws are functions of seed and epoch, and need no state.

    Attributes:
        key: What the run is of: `fingerprint`.
        epoch: Epochs done.
        step: Optimiser steps done.
        centre: What is taken from features before the head (D).
        scale: What they are divided by.
        weights: The unfrozen parameters and the head, by name.
        best: The same at the best epoch.
        best_epoch: That epoch; 0 is the start.
        best_loss: Its calibrated validation loss.
        optimiser: Its state dict.
        scaler: The gradient scaler's state dict; empty where there is none.
        history: One row an epoch.
        finished: Whether the run has come to its end.
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
    facts: Mapping[str, Any], pixels: Tensor, places: NDArray[np.int64], *arrays: NDArray[np.int64]
) -> str:
    """Name a run by all that its result depends on: settings, backbone, pictures, classes, groups.

    Args:
        facts: What can be written as JSON.
        pixels: uint8 (n, 3, S, S).
        places: Which of the pictures take part.
        arrays: One value for each that takes part.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in (places, *arrays):
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    for at in range(0, len(places), _HASHED_AT_ONCE):
        some = torch.from_numpy(places[at : at + _HASHED_AT_ONCE])
        digest.update(pixels[some].numpy().tobytes())
    return digest.hexdigest()


def save(folder: Path, progress: Progress) -> None:
    """Write the checkpoint beside its place, make it durable, and move it there.

    Raises:
        OutputError: It cannot be written; the one before is still there.
    """
    partial = folder / f"{CHECKPOINT}.partial"
    content = {field.name: getattr(progress, field.name) for field in fields(progress)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as handle:
            torch.save({"format": _FORMAT, **content}, handle)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(folder / CHECKPOINT)
        fsync.sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OutputError(f"{partial} cannot be written ({_reason(error)}).") from error


def load(folder: Path, key: str) -> Progress | None:
    """Read the checkpoint of a run; None if there is none yet.

    Raises:
        CheckpointMismatch: It is of another run, or cannot be read.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    again = "run without --resume to start over, or give another --checkpoint folder."
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != _FORMAT:
            raise ValueError("of another version of this program")
        progress = Progress(**content)
    except Exception as error:  # unpickling fails in as many ways as there are broken files
        raise CheckpointMismatch(f"{path} is no checkpoint that can be read: {again}") from error
    if progress.key != key:
        raise CheckpointMismatch(
            f"{path} is of a run on other pictures, labels, groups, weights or settings: {again}"
        )
    return progress


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
