"""The exported graph is the eager network, whatever the batch, and its map explains its answer."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.bundle.load import answer, load_graph
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.backbones.registry import LoadedBackbone, load_backbone
from training.errors import TrainingError
from training.evaluation.head import Head, softmax
from training.features.extract import Extractor
from training.publish import export as module
from training.publish.export import Classifier, ExportMismatch, export


def head_of(width: int, count: int, seed: int = 0) -> Head:
    random = np.random.default_rng(seed)
    return Head(
        random.normal(size=(count, width)).astype(np.float32),
        random.normal(size=count).astype(np.float32),
        1.0,
    )


def pictures(count: int, size: int) -> Tensor:
    random = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, size, size), generator=random).to(torch.uint8)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_exported_graph_equals_eager_network_for_any_batch(classes: int, count: int) -> None:
    classifier = Classifier(tiny_backbone(), head_of(TINY_POOLED, classes))
    graph = load_graph(export(classifier, input_px=32))
    pixels = pictures(count, 32)
    probabilities, activation, _ = answer(graph, pixels)
    assert probabilities.shape == (count, classes)
    assert activation.shape == (count, classes, 8, 8)
    assert probabilities.dtype == activation.dtype == torch.float32
    with torch.inference_mode():
        wanted, wanted_map = classifier(pixels)
    assert torch.allclose(probabilities, wanted, atol=1e-5)
    assert torch.allclose(activation, wanted_map, atol=1e-4)


def test_mean_of_activation_map_is_the_logit() -> None:
    graph = load_graph(export(Classifier(tiny_backbone(), head_of(TINY_POOLED, 3)), input_px=32))
    probabilities, activation, _ = answer(graph, pictures(4, 32))
    assert torch.allclose(activation.mean((2, 3)).softmax(1), probabilities, atol=1e-6)
    assert torch.allclose(probabilities.sum(1), torch.ones(4), atol=1e-6)


def test_exported_graph_equals_head_on_features() -> None:
    head = head_of(TINY_POOLED, 3)
    graph = load_graph(export(Classifier(tiny_backbone(), head), input_px=32))
    features = Extractor(tiny_backbone())(pictures(5, 32)).numpy()
    found = answer(graph, pictures(5, 32))[0].numpy()
    np.testing.assert_allclose(found, softmax(head.logits(features)), atol=1e-5)


def test_temperature_divides_the_logits() -> None:
    head = head_of(TINY_POOLED, 2)
    cold, warm = (
        answer(
            load_graph(export(Classifier(tiny_backbone(), head, temperature=t), input_px=32)),
            pictures(2, 32),
        )[1]
        for t in (1.0, 4.0)
    )
    assert torch.allclose(cold, warm * 4, atol=1e-4)


def test_default_backbone_exports() -> None:
    loaded = load_backbone("resnet50_thin")
    classifier = Classifier(loaded, head_of(loaded.spec.pooled_width, 2))
    graph = load_graph(export(classifier, input_px=224))
    assert not graph.training
    probabilities, activation, _ = answer(graph, pictures(1, 224))
    assert activation.shape == (1, 2, 7, 7)
    assert torch.allclose(activation.mean((2, 3)).softmax(1), probabilities, atol=1e-5)


class Branches(nn.Module):
    """Answers by the size of the batch, which a trace cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(len(x))


def test_export_raises_mismatch_for_an_untraceable_network() -> None:
    plain = tiny_backbone()
    network = nn.Sequential(plain.network, Branches()).eval()
    odd = LoadedBackbone(plain.spec, network, plain.facts)
    with pytest.raises(ExportMismatch, match="nothing was published"):
        export(Classifier(odd, head_of(TINY_POOLED, 2)), input_px=32)
    assert issubclass(ExportMismatch, TrainingError)


def test_export_raises_mismatch_for_nan() -> None:
    head = dataclasses.replace(head_of(TINY_POOLED, 2), bias=np.full(2, np.nan, np.float32))
    with pytest.raises(ExportMismatch):
        export(Classifier(tiny_backbone(), head), input_px=32)


def test_export_raises_mismatch_beyond_the_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(graph: torch.jit.ScriptModule, pixels: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, activation, _ = answer(graph, pixels)
        return probabilities + 1e-3, activation

    monkeypatch.setattr(module, "answer", off)
    with pytest.raises(ExportMismatch, match="off by"):
        export(Classifier(tiny_backbone(), head_of(TINY_POOLED, 2)), input_px=32)
