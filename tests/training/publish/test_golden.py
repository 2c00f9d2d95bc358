"""Golden pictures: drawn alike each time, small, different, and chosen where doubt is greatest."""

import pytest
import torch

from models.bundle.device import Outputs
from models.imaging.decode import decode_image
from training.publish.golden import choose_golden, decode_pool, draw_pool


def test_pool_depends_on_the_seed() -> None:
    assert draw_pool(0) == draw_pool(0)
    assert not set(draw_pool(0)) & set(draw_pool(1))


def test_pool_pictures_are_small_and_distinct() -> None:
    pool = draw_pool(0)
    assert len(set(pool)) == len(pool) == 32
    assert max(map(len, pool)) < 4000
    pixels = decode_pool(pool, size=32)
    assert torch.equal(pixels[3], decode_image(pool[3], size=32))
    means = torch.stack(pixels).float().flatten(1)
    assert float(torch.pdist(means).min()) > 100


def test_choose_golden_keeps_the_least_certain() -> None:
    pool = [b"a", b"b", b"c", b"d"]
    sure = torch.tensor([0.9, 0.55, 0.99, 0.6])
    probabilities = torch.stack([sure, 1 - sure], 1)
    activation = torch.arange(4 * 2 * 4, dtype=torch.float32).view(4, 2, 2, 2)
    golden = choose_golden(pool, Outputs(probabilities, activation), num_pictures=2, tolerance=0.01)
    assert golden.tolerance == 0.01
    assert [picture.picture for picture in golden.pictures] == [b"b", b"d"]
    assert golden.pictures[0].probabilities == pytest.approx([0.55, 0.45])
    assert golden.pictures[1].activation_means == activation[3].mean((1, 2)).tolist()


def test_choose_golden_keeps_the_order_of_ties() -> None:
    answers = torch.full((3, 2), 0.5)
    golden = choose_golden(
        [b"a", b"b", b"c"],
        Outputs(answers, torch.zeros((3, 2, 1, 1))),
        num_pictures=2,
        tolerance=0.01,
    )
    assert [picture.picture for picture in golden.pictures] == [b"a", b"b"]
