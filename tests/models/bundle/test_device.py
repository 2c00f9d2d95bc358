"""Device of a model: the choice everywhere, CUDA itself where available."""

from pathlib import Path

import pytest
import torch

from models.bundle.device import CPU, HALF_TOLERANCE, DeviceName, choose_device
from models.bundle.files import read_manifest
from models.bundle.load import open_bundle
from models.bundle.manifest import Manifest, PrecisionFacts
from models.errors import EngineUnavailable


@pytest.fixture(name="manifest")
def _manifest(path: Path) -> Manifest:
    return read_manifest(path)


def in_int8(manifest: Manifest) -> Manifest:
    precision = PrecisionFacts(name="int8", engine="onednn")
    return manifest.model_copy(update={"precision": precision})


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize(
    ("name", "int8", "device"),
    [
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("auto", False, "cuda"),
        ("auto", True, "cpu"),
        ("cuda", False, "cuda"),
    ],
)
def test_choose_device_takes_cuda_if_available_and_useful(
    name: DeviceName,
    int8: bool,
    device: str,
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
    assert chosen.type == (device if found else "cpu")


@pytest.mark.parametrize("found", [False, True])
def test_choose_device_refuses_int8_on_cuda(
    found: bool, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    with pytest.raises(EngineUnavailable, match="int8, which runs on CPUs only"):
        choose_device("cuda", in_int8(manifest))


def test_bundle_records_its_device(path: Path) -> None:
    assert open_bundle(path).device == CPU
    if not torch.cuda.is_available():
        with pytest.raises(EngineUnavailable):
            open_bundle(path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device")
def test_cuda_answers_match_the_cpu(path_0_1: Path) -> None:
    bundle = open_bundle(path_0_1)
    on_cuda = open_bundle(path_0_1, device="cuda")
    assert on_cuda.device.type == "cuda"
    size = bundle.manifest.input_px
    pixels = torch.randint(0, 256, (5, 3, size, size), dtype=torch.uint8)
    for wanted, found in zip(bundle.answer(pixels), on_cuda.answer(pixels), strict=True):
        assert wanted is not None
        assert found is not None
        assert found.device == CPU
        assert found.dtype == torch.float32
        scale = float(wanted.abs().max()) + 1.0
        assert float((found - wanted).abs().max()) / scale <= HALF_TOLERANCE
