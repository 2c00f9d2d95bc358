"""Post-training static quantisation of a frozen network to int8, by PyTorch's FX graph mode.

The head is fitted on the features of the quantised network, and so adapts to their rounding.
Activations are unsigned bytes with one scale per layer, from the minimum and the maximum over the
calibration pictures: cutting off tails, as histograms and percentiles do, cost a decibel here.
Weights are signed with one scale per channel, and use 7 of their 8 bits: a CPU without VNNI adds
pairs of u8 x s8 products in 16 bits, where 2 x 255 x 127 overflows and destroys the features (8 dB
of signal over noise, against 31 with 7 bits). The bundle must give the same answers there.

The engine is oneDNN: only it fuses convolution, addition and ReLU, so that the sum of a residual
block is rounded once, and as an unsigned number.
"""

import copy
import operator
import warnings
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from training.backbones.concat import Concat
from training.quantization.gptq import Gptq

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated, with no successor here
    from torch.ao.quantization import QConfig, QConfigMapping
    from torch.ao.quantization.backend_config import get_onednn_backend_config
    from torch.ao.quantization.observer import MinMaxObserver, PerChannelMinMaxObserver
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

ENGINE: Final = "onednn"
VERSION: Final = "3"  # of this algorithm, in cache keys: change it when features change
_CALIBRATION_BATCH_SIZE: Final = 8  # pictures

_MIN_WEIGHT, _MAX_WEIGHT = -64, 63  # 7 bits

_WEIGHTS: Final = PerChannelMinMaxObserver.with_args(
    dtype=torch.qint8,
    qscheme=torch.per_channel_symmetric,
    quant_min=_MIN_WEIGHT,
    quant_max=_MAX_WEIGHT,
)


class _Relu6Observer(MinMaxObserver):
    """Observer of values cut at 6: quantising to 0..6 then replaces the ReLU6."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x.clamp(max=6.0))  # type: ignore[no-untyped-call]
        return x


def quantise(network: nn.Module, scaled: Tensor) -> nn.Module:
    """Quantise a frozen network; of a `Concat` only the first, as the second loses too much.

    Args:
        network: float (N, 3, S, S) -> float (N, D, h, w), in `eval()`; stays as it is.
        scaled: float (n, 3, S, S): calibration pictures, scaled for the network.

    Returns:
        A network that approximates the given one, with int8 arithmetic inside.
    """
    if isinstance(network, Concat):
        return Concat(quantise(network.first, scaled), network.second)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.backends.quantized.engine = ENGINE
        # Stack traces of the nodes would import SymPy and NetworkX: 2 s, 6 s the first time.
        fx.config.do_not_emit_stack_traces = True
        graph, capped = _trace(network)
        mapping = QConfigMapping().set_global(_qconfig(MinMaxObserver))
        for name in capped:
            mapping.set_module_name(name, _qconfig(_Relu6Observer))
        if (first := _first_convolution(graph)) is not None:
            mapping.set_module_name(first, None)
        backend = get_onednn_backend_config()
        prepared = prepare_fx(graph, mapping, (scaled[:1],), backend_config=backend)
        with Gptq(prepared) as gptq:
            for batch in torch.split(scaled, _CALIBRATION_BATCH_SIZE):
                prepared(batch.contiguous(memory_format=torch.channels_last))
        converted: fx.GraphModule = convert_fx(prepared, backend_config=backend)
        gptq.apply(converted, low=_MIN_WEIGHT, high=_MAX_WEIGHT)
    return converted.requires_grad_(False)


def _qconfig(activations: type[MinMaxObserver]) -> QConfig:
    return QConfig(activation=activations, weight=_WEIGHTS)  # type: ignore[no-untyped-call]


def _trace(network: nn.Module) -> tuple[fx.GraphModule, list[str]]:
    """Trace the network into a graph of modules that PyTorch can fuse.

    Its patterns include `nn.ReLU` but not the function, `+` but not `+=`, and no ReLU6 at all.

    Returns:
        The graph, and the names of the convolutions whose ReLU was a ReLU6.
    """
    graph = fx.symbolic_trace(copy.deepcopy(network))
    graph.add_submodule("fused_relu", nn.ReLU().eval())
    modules = dict(graph.named_modules())
    capped: list[str] = []
    for node in graph.graph.nodes:
        if node.target is operator.iadd:
            node.target = operator.add
        called = modules.get(str(node.target)) if node.op == "call_module" else node.target
        is_relu6 = called is functional.relu6 or isinstance(called, nn.ReLU6)
        source = _convolution(node.args[0], modules) if is_relu6 else None
        if source is not None:
            capped.append(source)
        if source is not None or called in (functional.relu, torch.relu):
            node.op, node.target = "call_module", "fused_relu"
            node.args, node.kwargs = node.args[:1], {}
    graph.recompile()
    return graph, capped


def _first_convolution(graph: fx.GraphModule) -> str | None:
    """Return the name of the first convolution: it stays in fp32, as its error reaches all."""
    modules = dict(graph.named_modules())
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d):
            return str(node.target)
    return None


def _convolution(value: Any, modules: dict[str, nn.Module]) -> str | None:
    """Return the name of the convolution behind a value, with or without batch normalisation."""
    while isinstance(value, fx.Node) and value.op == "call_module":
        if isinstance(modules[str(value.target)], nn.Conv2d):
            return str(value.target)
        if not isinstance(modules[str(value.target)], nn.BatchNorm2d):
            return None
        value = value.args[0]
    return None
