"""Weights rounded so that layers answer as before, not so that each weight is nearest (GPTQ).

A rounding error in one weight is made good by those weights of the same filter that are not yet
rounded, as far as their inputs go together (Frantar et al. 2023, from Hassibi and Stork 1993).
Against rounding to the nearest it leaves a third of the noise: 7 bits become better than 8.
"""

from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

_PLACES: Final = 25  # taken of a feature map: neighbours say much the same
_DAMPING: Final = 0.01  # of the mean diagonal, so that inputs that never vary do no harm
_BLOCK: Final = 64  # columns whose errors reach the rest at once: faster, not another result


class Rounding:
    """Watches what a network's convolutions are given, then rounds their weights by it."""

    def __init__(self, prepared: fx.GraphModule) -> None:
        """Note the convolutions; depthwise ones have too few weights a filter to gain."""
        self._prepared = prepared
        self._convolutions: dict[str, nn.Conv2d] = {}
        self._products: dict[str, Tensor] = {}  # (d, d) a layer: of its inputs with each other
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        modules = dict(self._prepared.named_modules())
        for node in self._prepared.graph.nodes:
            layer = modules.get(str(node.target)) if node.op == "call_module" else None
            inner = next(layer.children(), layer) if isinstance(layer, nn.Sequential) else layer
            if layer is not None and isinstance(inner, nn.Conv2d) and inner.groups == 1:
                self._watch(str(node.target), layer, inner)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def apply(self, converted: fx.GraphModule, *, least: int, most: int) -> None:
        """Round the weights of the quantised network anew, with the scales that it has.

        Args:
            converted: Made from the network that was watched.
            least: Lowest weight, as an integer.
            most: Highest.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # columns are too short to share, and waiting costs more
        try:
            self._round(converted, least, most)
        finally:
            torch.set_num_threads(threads)

    def _round(self, converted: fx.GraphModule, least: int, most: int) -> None:
        for name, convolution in self._convolutions.items():
            layer: Any = converted.get_submodule(name)
            if not hasattr(layer, "set_weight_bias"):  # left in fp32
                continue
            rounded = layer.weight()
            scales, zeros = rounded.q_per_channel_scales(), rounded.q_per_channel_zero_points()
            weight = convolution.weight.detach()
            whole = round_weights(
                weight.flatten(1), scales.float(), self._products[name], least=least, most=most
            )
            whole = whole.reshape(weight.shape).to(torch.int8)
            again = torch._make_per_channel_quantized_tensor(whole, scales, zeros, 0)
            layer.set_weight_bias(again, layer.bias())

    def _watch(self, name: str, layer: nn.Module, convolution: nn.Conv2d) -> None:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            down, across = convolution.stride
            places = given[0].shape[2] * given[0].shape[3] / (down * across)
            step = max(1, int((places / _PLACES) ** 0.5))
            patches = functional.unfold(
                given[0],
                convolution.kernel_size,
                convolution.dilation,
                convolution.padding,  # type: ignore[arg-type]
                (down * step, across * step),
            )  # (N, d, about _PLACES)
            columns = patches.transpose(0, 1).flatten(1)  # (d, N * places)
            self._products[name] = self._products.get(name, 0) + columns @ columns.T

        self._convolutions[name] = convolution
        self._hooks.append(layer.register_forward_pre_hook(note))


def round_weights(
    weight: Tensor, scales: Tensor, products: Tensor, *, least: int, most: int
) -> Tensor:
    """Round a layer's filters, column by column.

    Args:
        weight: float (filters, d).
        scales: float (filters,): what an integer step is worth.
        products: float (d, d): sum over inputs of each with each.
        least: Lowest integer.
        most: Highest.

    Returns:
        float (filters, d) of integers.
    """
    count = weight.shape[1]
    damped = products + torch.eye(count) * (_DAMPING * products.diagonal().mean() + 1e-8)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    reach = torch.linalg.cholesky(inverse, upper=True)
    left = weight.clone()
    whole = torch.zeros_like(weight)
    for at in range(0, count, _BLOCK):
        end = min(at + _BLOCK, count)
        errors = torch.zeros((len(weight), end - at))
        for column in range(at, end):
            whole[:, column] = (left[:, column] / scales).round().clamp(least, most)
            error = (left[:, column] - whole[:, column] * scales) / reach[column, column]
            left[:, column:end] -= error[:, None] * reach[column, column:end]
            errors[:, column - at] = error
        left[:, end:] -= errors @ reach[at:end, end:]
    return whole
