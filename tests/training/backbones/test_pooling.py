"""Means in bands, and the head's map on them."""

import numpy as np
import pytest
import torch

from training.backbones.pooling import BANDS, activation_map, pyramid_pool, row_weights


@pytest.mark.parametrize(
    ("rows", "bands"),
    [(7, [(0, 3), (2, 5), (4, 7)]), (9, [(0, 3), (3, 6), (6, 9)]), (1, [(0, 1)] * 3)],
)
def test_pyramid_pool_averages_each_channel_in_each_band(
    rows: int, bands: list[tuple[int, int]]
) -> None:
    features = torch.randn(2, 5, rows, 4, generator=torch.Generator().manual_seed(0))
    found = pyramid_pool(features).view(2, 5, BANDS)
    for band, (top, bottom) in enumerate(bands):
        assert torch.allclose(found[:, :, band], features[:, :, top:bottom].mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 7, 8])
def test_activation_map_mean_equals_the_logit_of_pooled_features(rows: int) -> None:
    random = torch.Generator().manual_seed(rows)
    features = torch.randn(3, 5, rows, 6, generator=random)
    weight = torch.randn(4, 5 * BANDS, generator=random)
    found = activation_map(features, weight, row_weights(rows))
    assert found.shape == (3, 4, rows, 6)
    np.testing.assert_allclose(found.mean((2, 3)), pyramid_pool(features) @ weight.T, atol=1e-5)


def test_activation_map_uses_a_band_weight_in_its_rows_only() -> None:
    weight = torch.zeros(1, 2, BANDS)
    weight[0, :, 0] = 1.0  # looks at the top
    found = activation_map(torch.ones(1, 2, 7, 7), weight.flatten(1), row_weights(7))[0, 0]
    assert (found[:3] > 0).all()
    assert (found[3:] == 0).all()
