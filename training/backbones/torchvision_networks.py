"""Networks of torchvision without pooling and classifier, and their published weights."""

import http.client
import urllib.request
from collections import OrderedDict
from pathlib import Path
from typing import Final

import torch
from torch import nn

from training.backbones.torchvision_compat import torchvision
from training.backbones.weights import State, read_state_dict
from training.errors import NoWeights

# ImageNet's statistics as torchvision's weights expect them, here on the scale 0..255.
MEAN_RGB: Final = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD_RGB: Final = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_CONNECT_TIMEOUT_S: Final = 5.0


def build(name: str) -> nn.Module:
    """Return an untrained network up to its last feature map: (N, 3, S, S) -> (N, D, h, w)."""
    network = torchvision().models.get_model(name, weights=None)
    if hasattr(network, "layer4"):
        kept = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    else:
        kept = ["features"]
    return nn.Sequential(OrderedDict((part, getattr(network, part)) for part in kept))


def fetch(name: str) -> tuple[str, State]:
    """Return the weights' sha256 and state dict, from torch's cache or the internet.

    A download is checked against the hash in its name.

    Raises:
        NoWeights: They are not in the cache and cannot be downloaded.
    """
    entry = torchvision().models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    if not cached.is_file():
        try:  # probe first: without internet a download can hang for minutes
            request = urllib.request.Request(entry.url, method="HEAD")
            urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_S).close()
            entry.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            raise NoWeights(f"{entry.url} cannot be downloaded ({error})") from error
    return read_state_dict(cached)
