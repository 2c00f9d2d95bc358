"""Where in the picture: a feature map is averaged in three bands, top, middle and bottom.

Faces, goods and scenes stand upright, and what tells the classes apart often has its place: a
mask's is below. The mean of the whole map forgets it. Three bands, each nearly half as high as
the map and overlapping their neighbours, keep it (spatial pyramid matching: Lazebnik, Schmid and
Ponce 2006); they cost nothing at serving, for the head is applied to the map before the means
are taken. Left and right are not told apart: mirrored pictures are as common as plain ones.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

BANDS: Final = 3


def pooled(features: Tensor) -> Tensor:
    """Float (N, D, h, w) -> (N, D * 3): each channel's mean in each band, top to bottom."""
    return functional.adaptive_avg_pool2d(features, (BANDS, 1)).flatten(1)


def shares(rows: int) -> Tensor:
    """What each row of a map counts in each band.

    Args:
        rows: Rows h of the map.

    Returns:
        float32 (3, h), such that a plane's mean in a band is the mean of plane x share.
    """
    return pooled(torch.eye(rows)[None, :, :, None]).view(rows, BANDS).T * rows


def activation(features: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """Class-activation map (Zhou et al. 2016) of a head on pooled features.

    Args:
        features: float (N, D, h, w).
        weight: float (K, D * 3).
        rows: `shares(h)`.

    Returns:
        float (N, K, h, w); its spatial mean is the head's logit but for the bias.
    """
    count = weight.shape[0]
    kernel = weight.view(count, -1, BANDS).permute(2, 0, 1).flatten(0, 1)  # (3 * K, D)
    planes = functional.conv2d(features, kernel[:, :, None, None])  # (N, 3 * K, h, w)
    parts = [
        planes[:, band * count : (band + 1) * count] * rows[band][:, None] for band in range(BANDS)
    ]
    return torch.stack(parts).sum(0)
