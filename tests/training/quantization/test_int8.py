"""int8: what quantising keeps, what it may not do, and what it says."""

import copy
import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.bundle.load import answer, load_graph
from tests.training.tiny_backbone import tiny_backbone
from training.backbones.registry import BACKBONES, LoadedBackbone
from training.evaluation.head import Head
from training.publish.export import Classifier, export
from training.quantization import int8
from training.quantization.choose import noise_share
from training.quantization.gptq import round_weights
from training.quantization.int8 import quantise


class Residual(nn.Module):
    """Everything that the graph is rewritten for: `+=`, a functional ReLU, a ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = nn.functional.relu6(self.norm(self.wide(x)))
        y = self.last(y)
        y += x
        return nn.functional.relu(y)


def residual(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = Residual()
    nn.init.constant_(network.norm.weight, 9.0)  # so that the ReLU6 has something to cut
    return network.eval().requires_grad_(False)


def pixels(count: int, size: int = 16, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn((count, 3, size, size), generator=random)


def weights(network: nn.Module) -> list[Tensor]:
    layers: list[Any] = list(network.modules())
    return [layer.weight().int_repr() for layer in layers if hasattr(layer, "set_weight_bias")]


def test_quantise_keeps_outputs_nearly_equal() -> None:
    network = residual()
    before = copy.deepcopy(network.state_dict())
    quantised = quantise(network, pixels(12))
    with torch.inference_mode():
        wanted, found = network(pixels(6, seed=2)), quantised(pixels(6, seed=2))
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    noise = float((found - wanted).pow(2).sum() / wanted.pow(2).sum())
    assert noise < 0.003
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_quantise_fuses_addition_and_relu_and_keeps_the_first_layer_in_fp32() -> None:
    quantised = quantise(residual(), pixels(4))
    kinds = [type(layer).__name__ for layer in quantised.children()]
    assert "ConvAddReLU2d" in kinds
    assert not hasattr(quantised.get_submodule("stem"), "set_weight_bias")


def test_quantise_keeps_the_cut_of_relu6() -> None:
    quantised = quantise(residual(), pixels(8))
    layer: Any = quantised.get_submodule("wide")
    assert layer.scale * 255 == pytest.approx(6.0, rel=1e-3)
    assert layer.zero_point == 0


def test_quantise_uses_seven_bits_per_weight() -> None:
    # Two products of 255 x 64 fit into 16 bits, which is what CPUs without VNNI add them in.
    for found in weights(quantise(residual(), pixels(4))):
        assert 32 < int(found.abs().max()) <= 64
        assert 255 * int(found.abs().max()) * 2 < 2**15


def test_quantise_is_deterministic() -> None:
    one, other = (quantise(residual(), pixels(4)) for _ in range(2))
    assert all(map(torch.equal, weights(one), weights(other)))
    assert torch.equal(one(pixels(3)), other(pixels(3)))


def test_round_weights_has_less_output_error_than_rounding_to_nearest() -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn((16, 48), generator=random)
    mixing = torch.randn((48, 48), generator=random)
    inputs = (mixing @ torch.randn((48, 400), generator=random)).relu()  # that go together
    scales = weight.abs().amax(1) / 63.5
    whole = round_weights(weight, scales, inputs @ inputs.T, low=-64, high=63)
    nearest = (weight / scales[:, None]).round().clamp(-64, 63)
    assert torch.equal(whole, whole.round())
    assert int(whole.min()) >= -64
    assert int(whole.max()) <= 63

    def off(rounded: Tensor) -> float:
        return float(((rounded * scales[:, None] - weight) @ inputs).pow(2).mean())

    assert off(whole) < 0.7 * off(nearest)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_lite0"])
def test_export_of_quantised_architectures(name: str) -> None:
    torch.manual_seed(0)
    spec = dataclasses.replace(BACKBONES[name], input_px=64)
    network = spec.build().eval().requires_grad_(False)
    quantised = quantise(network, pixels(4, 64))
    loaded = LoadedBackbone(spec, quantised, tiny_backbone().facts)
    head = Head(np.ones((2, spec.pooled_width), np.float32), np.zeros(2, np.float32), 1.0)
    graph = load_graph(export(Classifier(loaded, head), input_px=64, precision="int8"))
    random = torch.Generator().manual_seed(3)
    for count in (1, 5):
        given = torch.randint(0, 256, (count, 3, 64, 64), generator=random).to(torch.uint8)
        probabilities, activation, _ = answer(graph, given)
        assert probabilities.shape == (count, 2)
        assert activation.shape == (count, 2, 2, 2)
        assert bool(activation.isfinite().all())


def test_quantise_emits_no_deprecation_warnings() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quantise(residual(), pixels(2))
    assert [str(warning.message) for warning in said] == []
    assert torch.backends.quantized.engine == int8.ENGINE


def test_noise_share_ignores_a_common_shift() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 8)).astype(np.float32)
    assert noise_share(features, features + 5.0) == pytest.approx(0.0, abs=1e-6)
    noisy = features + 0.5 * random.normal(size=(50, 8)).astype(np.float32)
    assert noise_share(features, noisy) == pytest.approx(0.25, rel=0.2)
