"""The other processes of a fine-tuning under `torchrun`: they repeat what rank 0 does."""

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.backbones.registry import LoadedBackbone
from training.finetuning import team
from training.finetuning.checkpoint import RunState
from training.finetuning.config import FinetuneConfig
from training.finetuning.device import choose_device, repeatable
from training.finetuning.pixels import LabelledPixels
from training.finetuning.run import Diverged, Run


@dataclass(frozen=True)
class Begin:
    """Message: build a run of these arguments; its state follows."""

    backbone: LoadedBackbone
    data: LabelledPixels
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    config: FinetuneConfig


@dataclass(frozen=True)
class Epoch:
    """Message: train the run's next epoch."""


def follow() -> None:
    """Obey the messages of rank 0 until it is done; write nothing."""
    device = choose_device()
    run: Run | None = None
    state: RunState | None = None
    with repeatable(device):
        while (message := team.receive()) is not None:
            match message:
                case Begin(backbone, data, train, validation, config):
                    run = Run(backbone, data, train, validation, config, device)
                case RunState() if run is not None:
                    state = message
                    run.restore(state)
                case Epoch() if run is not None and state is not None:
                    # Rank 0 has the same numbers, and ends the run.
                    with contextlib.suppress(Diverged):
                        state = run.epoch(state, lambda done: None)
