"""Where a model runs: the choice everywhere, and CUDA itself where there is one."""

from pathlib import Path

import pytest
import torch

from models.bundle.device import CPU, HALF_TOLERANCE, DeviceName, choose_device
from models.bundle.load import open_bundle
from models.bundle.manifest import Manifest, PrecisionFacts
from models.errors import EngineUnavailable
from tests.service.fixtures import SIZE_PX, publish_bundle


@pytest.fixture(name="manifest")
def _manifest(tmp_path: Path) -> Manifest:
    return publish_bundle(tmp_path).manifest


def in_int8(manifest: Manifest) -> Manifest:
    precision = PrecisionFacts(name="int8", engine="onednn")
    return manifest.model_copy(update={"precision": precision})


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize(
    ("name", "int8", "place"),
    [
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("auto", False, "cuda"),
        ("auto", True, "cpu"),
        ("cuda", False, "cuda"),
    ],
)
def test_cuda_is_taken_where_it_is_wanted_found_and_of_use(
    name: DeviceName,
    int8: bool,
    place: str,
    found: bool,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    if name == "cuda" and not found:
        with pytest.raises(EngineUnavailable, match="finds no CUDA device"):
            choose_device(name, manifest)
        return
    chosen = choose_device(name, in_int8(manifest) if int8 else manifest)
    assert chosen.type == (place if found else "cpu")


@pytest.mark.parametrize("found", [False, True])
def test_int8_is_not_promised_on_cuda(
    found: bool, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    with pytest.raises(EngineUnavailable, match="int8, which runs on CPUs only"):
        choose_device("cuda", in_int8(manifest))


def test_a_bundle_says_where_its_model_is(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    assert open_bundle(bundle.path).device == CPU
    if not torch.cuda.is_available():
        with pytest.raises(EngineUnavailable):
            open_bundle(bundle.path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device")
def test_cuda_answers_as_the_cpu_does(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    there = open_bundle(bundle.path, device="cuda")
    assert there.device.type == "cuda"
    pixels = torch.randint(0, 256, (5, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    for wanted, found in zip(bundle.answer(pixels), there.answer(pixels), strict=True):
        assert wanted is not None
        assert found is not None
        assert found.device == CPU
        assert found.dtype == torch.float32
        scale = float(wanted.abs().max()) + 1.0
        assert float((found - wanted).abs().max()) / scale <= HALF_TOLERANCE
