"""Training and service see the same pixels and give the same answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import service.inference.decoder
import training.data.image_stats
import training.evaluation.errors
import training.evaluation.holdout
import training.evaluation.robustness.measure
import training.features.augmented
import training.finetuning.pixels
import training.publish.golden
import training.quantization.choose
from models.bundle.load import answer, load_graph
from models.imaging.decode import decode_image, decode_opened
from tests.images import encode, photograph
from tests.service.fixtures import SIZE_PX, make_engine, publish_bundle, wait
from training.backbones.registry import load_backbone
from training.data.cache import Cache
from training.data.image_stats import decode_and_measure
from training.data.source import open_source
from training.evaluation.head import Head, softmax
from training.features.extract import Extractor, extract
from training.publish.export import Classifier, export


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


PICTURES = {
    "jpeg": encode(photograph(640, 480), "JPEG"),
    "progressive": encode(photograph(301, 203, 1), "JPEG", progressive=True),
    "turned": encode(photograph(300, 200, 2), "JPEG", exif=exif(6)),
    "png": encode(photograph(50, 70, 3)),
    "clear": encode(photograph(40, 40, 4).convert("RGBA").resize((9, 90))),
    "palette": encode(photograph(40, 40, 5).convert("P")),
    "grey": encode(photograph(100, 50, 6).convert("L"), "JPEG"),
    "cmyk": encode(photograph(100, 50, 7).convert("CMYK"), "JPEG"),
    "webp": encode(photograph(333, 222, 8), "WEBP"),
    "gif": encode(photograph(60, 60, 9), "GIF"),
    "bmp": encode(photograph(60, 60, 10), "BMP"),
    "tiff": encode(photograph(60, 40, 11), "TIFF", exif=exif(8)),
}


def test_training_and_service_share_one_decoder() -> None:
    for module in (service.inference.decoder, training.data.image_stats):
        assert vars(module)["decode_opened"] is decode_opened
    for module in (
        training.evaluation.errors,
        training.evaluation.holdout,
        training.evaluation.robustness.measure,
        training.features.augmented,
        training.finetuning.pixels,
        training.publish.golden,
        training.quantization.choose,
    ):
        assert vars(module)["decode_image"] is decode_image


def test_engine_feeds_the_decoded_pixels_to_the_graph(tmp_path: Path) -> None:
    fed: list[torch.Tensor] = []
    bundle = publish_bundle(tmp_path)

    def model(pixels: torch.Tensor) -> Any:
        fed.extend(pixels.clone())
        return bundle.model(pixels)

    engine = make_engine(bundle, model)
    fed.clear()  # of the warm-up
    try:
        wait(engine.predict([bytearray(data) for data in PICTURES.values()]))
    finally:
        engine.close()
    for pixels, (name, data) in zip(fed, PICTURES.items(), strict=True):
        assert torch.equal(pixels, decode_image(data, size=SIZE_PX)), name


@pytest.mark.parametrize("name", PICTURES)
def test_training_and_service_decode_equal_pixels(name: str) -> None:
    data = PICTURES[name]
    measured, _ = decode_and_measure(data, size=224)
    served = decode_image(bytes(bytearray(data)), size=224, max_pixels=10_000_000)
    assert measured.numpy().tobytes() == served.numpy().tobytes()


def test_extractor_batches_hold_the_decoded_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in PICTURES.items():
        (folder / name).write_bytes(data)
    seen: list[torch.Tensor] = []
    real = Extractor.__call__

    def spy(self: Extractor, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels.clone())
        return real(self, pixels)

    monkeypatch.setattr(Extractor, "__call__", spy)
    monkeypatch.setattr("training.data.parallel.usable_cores", lambda: 1)
    source = open_source(folder)
    with Cache(tmp_path / "cache") as cache:
        extract(source, source.names(), Extractor(load_backbone("resnet50_thin")), cache)
    fed = torch.cat(seen)[: len(PICTURES)]
    for pixels, name in zip(fed, sorted(PICTURES), strict=True):
        assert torch.equal(pixels, decode_image(PICTURES[name], size=224)), name


@pytest.mark.parametrize("name", ["resnet50_thin", "efficientnet_lite0"])
def test_exported_graph_equals_head_on_features(name: str) -> None:
    loaded = load_backbone(name)
    pixels = torch.stack([decode_image(data, size=224) for data in PICTURES.values()])
    features = Extractor(loaded)(pixels).numpy()
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, loaded.spec.pooled_width)) / features.std() / 10
    head = Head(weight.astype(np.float32), np.zeros(3, np.float32), 1.0)
    wanted = softmax(head.logits(features))
    assert float(wanted.std()) > 0.05
    graph = load_graph(export(Classifier(load_backbone(name), head), input_px=224))
    found = answer(graph, pixels)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    alone = np.concatenate([answer(graph, picture[None])[0].numpy() for picture in pixels])
    np.testing.assert_allclose(alone, wanted, atol=1e-4)
