"""Near copies, by difference hashes."""

import random

import pytest
from PIL import Image

from models.imaging.decode import OrientedImage
from models.imaging.open import open_image
from studio.pictures import near_copies
from studio.pictures.near_copies import EDGE, difference_hash, find_near_copies
from tests.images import encode, photograph
from training.data import duplicates, image_stats


def hash_of(data: bytes) -> str | None:
    return difference_hash(OrientedImage(open_image(data), longest_px=160).grey(EDGE + 1, EDGE))


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_saved_again_has_nearly_the_same_hash(seed: int) -> None:
    image = photograph(640, 480, seed)
    first = hash_of(encode(image, "JPEG", quality=95))
    assert first is not None
    for copy in (
        encode(image, "JPEG", quality=60),
        encode(image.resize((320, 240)), "PNG"),
        encode(image, "WEBP", quality=80),
    ):
        again = hash_of(copy)
        assert again is not None
        assert list(find_near_copies({2: again}, {1: first, 2: again})) == [(2, 1)]
    other = hash_of(encode(photograph(640, 480, seed + 100), "JPEG"))
    assert other is not None
    assert list(find_near_copies({2: other}, {1: first, 2: other})) == []


def test_plain_pictures_have_no_hash() -> None:
    assert hash_of(encode(Image.new("RGB", (300, 200), "black"))) is None


def test_every_pair_within_the_limit_is_found() -> None:
    source = random.Random(1)
    known: dict[int, int] = {}
    for id in range(0, 400, 2):
        value = source.getrandbits(256)
        flipped = sum(1 << bit for bit in source.sample(range(256), source.randint(0, 9)))
        known[id], known[id + 1] = value, value ^ flipped
    hashes = {id: f"{value:064x}" for id, value in known.items()}
    expected = {
        (id + 1, id)
        for id in range(0, 400, 2)
        if (known[id] ^ known[id + 1]).bit_count() <= near_copies.MAX_BITS
    }
    new = {id: text for id, text in hashes.items() if id % 2}
    assert set(find_near_copies(new, hashes)) == expected
    assert set(find_near_copies(hashes, hashes)) == expected


def test_the_limits_are_the_training_jobs() -> None:
    assert near_copies.MAX_BITS == duplicates._MAX_BITS_OF_SURE_COPY
    assert near_copies.MIN_INFORMATIVE_BITS == image_stats._MIN_INFORMATIVE_BITS
    assert near_copies.EDGE == image_stats._HASH_EDGE
