"""Trainable classifier: a copy of the backbone with its head, and the stages that may train."""

import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.backbones.pooling import pyramid_pool
from training.backbones.registry import LoadedBackbone
from training.evaluation.head import Head
from training.finetuning.config import BadFinetuneConfig, Unfreeze

_BATCH_SIZE: Final = 32  # pictures per forward pass without gradients


class TrainableClassifier(nn.Module):
    """uint8 (N, 3, S, S) -> logits (N, K): scaling, backbone, pooling and head.

    It copies the network: the backbone given keeps its weights and its device.
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

    def standardise(self, centre: Tensor, scale: float) -> None:
        """Set the vector subtracted from features, and the number that then divides them.

        Features after a ReLU all lie on one side of zero. AdamW moves every weight by about the
        same amount, so that on such features all weights together shift the logits like one huge
        bias; around the features' mean they do not.
        """
        self.centre.copy_(centre)
        self.scale = scale

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = (pixels.to(torch.float32) - self.mean) / self.std
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        features = pyramid_pool(self.network(scaled))  # (N, F)
        return functional.linear((features - self.centre) / self.scale, self.weight, self.bias)

    def predict(self, pixels: Tensor, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return float32 logits (m, K), as float64, of m of the pictures (n, 3, S, S)."""
        parts = []
        with torch.inference_mode():
            for chosen in torch.split(torch.from_numpy(indices), _BATCH_SIZE):
                parts.append(self(pixels[chosen].to(self.mean.device)).double().cpu())
        return torch.cat(parts).numpy()

    def trainable_state(self) -> dict[str, Tensor]:
        """Return copies of the trainable parameters, on the CPU, by name."""
        named = self.named_parameters()
        return {name: item.detach().cpu().clone() for name, item in named if item.requires_grad}

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        """Copy parameters back from `trainable_state`."""
        named = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in state.items():
                named[name].copy_(value)


def find_stages(network: nn.Module, *, input_px: int) -> list[list[nn.Parameter]]:
    """Group a network's parameters by stage, first stage first.

    A stage is all that works at one resolution, as in He et al. 2015. Stages are found by hooks
    in one forward pass, so that a new backbone needs no list of its layers. A layer belongs to
    the highest resolution that comes after it: pooling inside a block (squeeze-and-excitation)
    does not end a stage.

    Args:
        network: float (N, 3, S, S) -> float (N, D, h, w).
        input_px: Edge S.
    """
    calls: list[tuple[nn.Module, int]] = []  # a layer, and the area of its output

    def record(layer: nn.Module, inputs: object, output: Tensor) -> None:
        calls.append((layer, output.shape[-1] * output.shape[-2] if output.ndim == 4 else 1))

    layers = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        with torch.inference_mode():
            last: Tensor = network(torch.zeros((1, 3, input_px, input_px)))
    finally:
        for hook in hooks:
            hook.remove()
    by_area: dict[int, dict[int, nn.Parameter]] = {}  # a parameter once, by identity
    assigned: set[int] = set()
    area = last.shape[-1] * last.shape[-2]
    for layer, output_area in reversed(calls):
        area = max(area, output_area)
        for parameter in layer.parameters(recurse=False):
            if id(parameter) not in assigned:
                assigned.add(id(parameter))
                by_area.setdefault(area, {})[id(parameter)] = parameter
    return [list(reversed(by_area[area].values())) for area in sorted(by_area, reverse=True)]


def trainable_parameters(
    network: nn.Module, unfreeze: Unfreeze, *, input_px: int
) -> list[nn.Parameter]:
    """Return the parameters of the last stage, the last n stages, or all.

    Raises:
        BadFinetuneConfig: No such choice, or more stages than there are.
    """
    stages = find_stages(network, input_px=input_px)
    number = {"last": 1, "all": len(stages)}.get(str(unfreeze), unfreeze)
    if not isinstance(number, int) or not 1 <= number <= len(stages):
        raise BadFinetuneConfig(
            f"{unfreeze!r} cannot be unfrozen: give last, all, or how many of the "
            f"{len(stages)} stages."
        )
    return [parameter for stage in stages[-number:] for parameter in stage]
