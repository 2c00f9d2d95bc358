"""A random, frozen backbone of six features."""

import torch
from torch import nn

from models.bundle.manifest import BackboneFacts
from training.backbones.pooling import BANDS
from training.backbones.registry import Backbone, LoadedBackbone

TINY_WIDTH = 6
TINY_POOLED = TINY_WIDTH * BANDS


def tiny_backbone() -> LoadedBackbone:
    """Return a random, frozen backbone of 6 features for 32 x 32 images."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, TINY_WIDTH, 4, 4), nn.ReLU())
    network.eval().requires_grad_(False)
    spec = Backbone(
        name="tiny",
        source="drawn",
        licence="MIT",
        input_px=32,
        mean_rgb=(127.0, 120.0, 110.0),
        std_rgb=(64.0, 60.0, 58.0),
        feature_width=TINY_WIDTH,
        downloads=False,
        build=lambda: network,
        fetch=lambda: ("0" * 64, network.state_dict()),
    )
    facts = BackboneFacts(
        name="tiny",
        source="drawn",
        licence="MIT",
        weights_sha256="0" * 64,
        feature_width=TINY_WIDTH,
    )
    return LoadedBackbone(spec, network, facts)
