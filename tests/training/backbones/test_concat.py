"""Two backbones side by side: each gets the picture as it wants it; only the first is rounded."""

import torch

from training.backbones.concat import Concat
from training.backbones.registry import BACKBONES, load_backbone
from training.features.extract import Extractor
from training.quantization import int8


def test_concat_equals_both_backbones_on_the_same_picture() -> None:
    pixels = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    pair = Extractor(load_backbone("resnet50_thin_and_lite0")).feature_map(pixels)
    first = Extractor(load_backbone("resnet50_thin")).feature_map(pixels)
    second = Extractor(load_backbone("efficientnet_lite0")).feature_map(pixels)
    assert pair.shape == (2, BACKBONES["resnet50_thin_and_lite0"].feature_width, 7, 7)
    assert torch.allclose(pair[:, :1024], first, atol=1e-3)
    assert torch.allclose(pair[:, 1024:], second / 2, atol=1e-3)


def test_quantise_of_a_concat_changes_the_first_backbone_only() -> None:
    loaded = load_backbone("resnet50_thin_and_lite0")
    random = torch.Generator().manual_seed(1)
    scaled = 40 * torch.randn((2, 3, 224, 224), generator=random)
    quantised = int8.quantise(loaded.network, scaled)
    assert isinstance(quantised, Concat)
    assert isinstance(loaded.network, Concat)
    assert quantised.second is loaded.network.second
    assert any(hasattr(layer, "set_weight_bias") for layer in quantised.first.modules())
    with torch.inference_mode():
        assert torch.equal(quantised(scaled)[:, 1024:], loaded.network(scaled)[:, 1024:])


def test_smaller_input_uses_the_same_weights() -> None:
    small, whole = load_backbone("resnet50_thin_160"), load_backbone("resnet50_thin")
    assert small.spec.input_px == 160
    assert small.facts.weights_sha256 == whole.facts.weights_sha256
