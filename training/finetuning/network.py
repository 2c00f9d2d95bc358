"""Which parameters a fine-tuning run may change: a network's stages, found by running it once."""

import torch
from torch import Tensor, nn

from training.finetuning.config import BadFinetuneConfig, Unfreeze


def stages(network: nn.Module, *, input_px: int) -> list[list[nn.Parameter]]:
    """Group a network's parameters by stage, first stage first.

    A stage is what works at one resolution, as in He et al. 2015. It is found by watching one
    forward pass, so that a backbone new to the table needs no list of its layers. A layer
    belongs to the highest resolution that comes after it: what pools for itself in between
    (squeeze-and-excitation) does not end a stage.

    Args:
        network: float (N, 3, S, S) -> float (N, D, h, w).
        input_px: Edge S.
    """
    seen: list[tuple[nn.Module, int]] = []  # a layer, and the area of what it gives

    def note(layer: nn.Module, given: object, result: Tensor) -> None:
        seen.append((layer, result.shape[-1] * result.shape[-2] if result.ndim == 4 else 1))

    layers = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.inference_mode():
            last: Tensor = network(torch.zeros((1, 3, input_px, input_px)))
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[int, dict[int, nn.Parameter]] = {}  # by area; a parameter once, by identity
    placed: set[int] = set()
    area = last.shape[-1] * last.shape[-2]
    for layer, own in reversed(seen):
        area = max(area, own)
        for parameter in layer.parameters(recurse=False):
            if id(parameter) not in placed:
                placed.add(id(parameter))
                found.setdefault(area, {})[id(parameter)] = parameter
    return [list(reversed(found[area].values())) for area in sorted(found, reverse=True)]


def unfrozen(network: nn.Module, unfreeze: Unfreeze, *, input_px: int) -> list[nn.Parameter]:
    """The parameters of the last stage, the last n stages, or all.

    Raises:
        BadFinetuneConfig: No such choice, or more stages than there are.
    """
    every = stages(network, input_px=input_px)
    count = {"last": 1, "all": len(every)}.get(str(unfreeze), unfreeze)
    if not isinstance(count, int) or not 1 <= count <= len(every):
        raise BadFinetuneConfig(
            f"{unfreeze!r} cannot be unfrozen: say last, all, or how many of the "
            f"{len(every)} stages."
        )
    return [parameter for stage in every[-count:] for parameter in stage]
