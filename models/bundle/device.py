"""Where a graph runs: on the CPU as it was made, or on a CUDA device in half precision."""

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from models.bundle.manifest import Manifest
from models.errors import EngineUnavailable


class Outputs(NamedTuple):
    """What a graph says of uint8 (N, 3, S, S).

    Attributes:
        probabilities: float32 (N, K).
        activation: Class-activation map, float32 (N, K, h, w).
        distance: float32 (N,): from the training pictures, 0 to 2; None of a model that does not
            measure it.
    """

    probabilities: Tensor
    activation: Tensor
    distance: Tensor | None = None


DeviceName = Literal["auto", "cpu", "cuda"]

CPU: Final = torch.device("cpu")
# Half precision has 11 bits: what it changes in a probability, and in a map against its largest
# value. The least certain answers, as golden pictures are chosen to give, move most.
HALF_TOLERANCE: Final = 0.02


def choose_device(name: DeviceName, manifest: Manifest) -> torch.device:
    """Find where to run a model.

    Args:
        name: `cpu`, `cuda`, or `auto`: CUDA where there is one and the model can run there.
        manifest: Of the model.

    Raises:
        EngineUnavailable: CUDA is asked for, and there is none, or the model is in int8.
    """
    if name == "cpu":
        return CPU
    int8 = manifest.precision.name == "int8"
    if torch.cuda.is_available() and not int8:
        return torch.device("cuda")
    if name == "auto":
        return CPU
    raise EngineUnavailable(
        "The model computes in int8, which runs on CPUs only: train with --precision fp32, or "
        "use the CPU."
        if int8
        else "PyTorch finds no CUDA device here: use the CPU."
    )


def on_device(model: torch.jit.ScriptModule, pixels: Tensor, device: torch.device) -> Outputs:
    """Run a graph that was loaded to a CUDA device, in half precision.

    Args:
        model: Loaded to `device`.
        pixels: uint8 (N, 3, S, S), on the CPU.
        device: A CUDA device.

    Returns:
        As `models.bundle.load.answer` does, on the CPU.
    """
    # Only from pinned memory does a copy not stop the thread.
    there = pixels.pin_memory().to(device, non_blocking=True)
    with torch.autocast(device.type, torch.float16):
        outputs = model(there)
    return Outputs(*(output.float().cpu() for output in outputs))
