"""Pyramid pooling of a feature map in three bands (top, middle, bottom), and its activation map.

Faces, goods and scenes stand upright, and what separates the classes often has a fixed height in
the picture: a mask is in the lower half. The mean of the whole map loses that. Three bands, each
nearly half as high as the map and overlapping their neighbours, keep it (spatial pyramid
matching: Lazebnik, Schmid and Ponce 2006). They cost nothing at serving, because the head is
applied to the map before the means are taken. Left and right are pooled together: mirrored
pictures are as common as others.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

BANDS: Final = 3


def pyramid_pool(features: Tensor) -> Tensor:
    """Return each channel's mean in each band: float (N, D, h, w) -> (N, D * 3), top to bottom."""
    return functional.adaptive_avg_pool2d(features, (BANDS, 1)).flatten(1)


def row_weights(rows: int) -> Tensor:
    """Return the weight of each row of a map in each band.

    Args:
        rows: Rows h of the map.

    Returns:
        float32 (3, h): the mean of plane * weight is the plane's mean in that band.
    """
    return pyramid_pool(torch.eye(rows)[None, :, :, None]).view(rows, BANDS).T * rows


def activation_map(features: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """Return the class-activation map (Zhou et al. 2016) of a head on pyramid-pooled features.

    Args:
        features: float (N, D, h, w).
        weight: float (K, D * 3).
        rows: float32 (3, h), from `row_weights`.

    Returns:
        float (N, K, h, w). Its spatial mean is the head's logit without the bias.
    """
    num_classes = weight.shape[0]
    kernel = weight.view(num_classes, -1, BANDS).permute(2, 0, 1).flatten(0, 1)  # (3 * K, D)
    planes = functional.conv2d(features, kernel[:, :, None, None])  # (N, 3 * K, h, w)
    parts = [
        planes[:, band * num_classes : (band + 1) * num_classes] * rows[band][:, None]
        for band in range(BANDS)
    ]
    return torch.stack(parts).sum(0)
