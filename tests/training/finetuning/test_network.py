"""Stages of a network, and the parameters that may train."""

import pytest
from torch import Tensor, nn

from tests.training.finetuning.runs import network_of_two_stages
from training.backbones.efficientnet_lite import EfficientNetLite0
from training.backbones.registry import load_backbone
from training.finetuning.config import BadFinetuneConfig
from training.finetuning.network import find_stages, trainable_parameters


def test_find_stages_groups_parameters_by_resolution() -> None:
    found = [len(stage) for stage in find_stages(network_of_two_stages(), input_px=32)]
    assert found == [4, 4]
    thin = load_backbone("resnet50_thin").network
    sizes = [len(stage) for stage in find_stages(thin, input_px=64)]
    assert len(sizes) == 5
    assert sum(sizes) == len(list(thin.parameters()))
    names = {id(item): name for name, item in thin.named_parameters()}
    last = {names[id(item)] for item in trainable_parameters(thin, "last", input_px=64)}
    assert last == {name for name in names.values() if name.startswith("stages.3.")}
    lite = EfficientNetLite0().eval()
    every = find_stages(lite, input_px=64)
    assert sum(map(len, every)) == len(list(lite.parameters()))
    assert len(every) == 5


def test_find_stages_ignores_pooling_inside_a_block() -> None:
    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
            return result

    network = nn.Sequential(nn.Conv2d(3, 4, 2, 2), Squeeze(), nn.Conv2d(4, 4, 2, 2), Squeeze())
    assert [len(stage) for stage in find_stages(network, input_px=16)] == [2, 6]


def test_trainable_parameters_of_n_stages() -> None:
    network = network_of_two_stages()
    assert (
        len(trainable_parameters(network, 2, input_px=32))
        == len(trainable_parameters(network, "all", input_px=32))
        == 8
    )
    for wrong in (0, 3, -1):
        with pytest.raises(BadFinetuneConfig, match="how many of the 2 stages"):
            trainable_parameters(network, wrong, input_px=32)
