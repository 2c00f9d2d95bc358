"""Device of a graph: the CPU, or a CUDA device in half precision."""

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from models.bundle.manifest import Manifest
from models.errors import EngineUnavailable


class Outputs(NamedTuple):
    """Outputs of a graph for uint8 (N, 3, S, S).

    Attributes:
        probabilities: float32 (N, K).
        activation: Class-activation map, float32 (N, K, h, w).
        distance: Distance to the training pictures, float32 (N,), 0 to 2; None from a model
            without an out-of-distribution detector.
    """

    probabilities: Tensor
    activation: Tensor
    distance: Tensor | None = None


DeviceName = Literal["auto", "cpu", "cuda"]

CPU: Final = torch.device("cpu")
HALF_TOLERANCE: Final = 0.02
"""Max change by half precision (11 bits) of a probability, and of a map relative to its largest
value. The least certain answers, which golden pictures are chosen to give, change most."""


def choose_device(name: DeviceName, manifest: Manifest) -> torch.device:
    """Return the device to run a model on.

    Args:
        name: `cpu`, `cuda`, or `auto`: CUDA if available and the model can run there.
        manifest: The model's manifest.

    Raises:
        EngineUnavailable: `cuda` is not available, or the model computes in int8.
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


def answer_on_cuda(model: torch.jit.ScriptModule, pixels: Tensor, device: torch.device) -> Outputs:
    """Run a graph on a CUDA device in half precision.

    Args:
        model: Loaded to `device`.
        pixels: uint8 (N, 3, S, S), on the CPU.
        device: A CUDA device.

    Returns:
        The outputs, on the CPU.
    """
    # Only copies from pinned memory do not block the thread.
    on_device = pixels.pin_memory().to(device, non_blocking=True)
    with torch.autocast(device.type, torch.float16):
        outputs = model(on_device)
    return Outputs(*(output.float().cpu() for output in outputs))
