"""Near-duplicates and groups of pictures."""

import dataclasses

import pytest
from PIL import Image

from tests.images import encode, photograph
from tests.training.audit.data_sets import (
    make_stats,
    measure,
)
from training.data.duplicates import find_near_duplicates, group_pictures
from training.data.image_stats import decode_and_measure


def test_find_near_duplicates_of_encoded_pictures() -> None:
    drawn = [photograph(200, 150, seed) for seed in range(6)]
    copies = [
        encode(drawn[0], "JPEG", quality=60),
        encode(drawn[1].resize((120, 90)), "WEBP", quality=80),
        encode(drawn[2].transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=90),
    ]
    stats = [decode_and_measure(data, size=64)[1] for data in [*map(encode, drawn), *copies]]
    assert find_near_duplicates(stats) == [(0, 6), (1, 7), (2, 8)]


def copy(image: Image.Image, how: str) -> bytes:
    match how:
        case "quality":
            return encode(image, "JPEG", quality=30)
        case "smaller":
            return encode(image.resize((40, 40), Image.Resampling.LANCZOS), "JPEG", quality=85)
        case "mirrored":
            mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            return encode(mirrored, "JPEG", quality=80)
        case _:
            return encode(image.point(lambda v: v * 3 // 4))


@pytest.mark.parametrize("how", ["quality", "smaller", "mirrored", "darker"])
def test_find_near_duplicates_finds_changed_copy(how: str) -> None:
    images = [photograph(160, 120, seed) for seed in range(12)]
    stats = measure(*images, copy(images[3], how))
    assert find_near_duplicates(stats) == [(3, 12)]


def test_find_near_duplicates_needs_equal_light_for_more_bits() -> None:
    first = make_stats(0)
    changed = f"{int(first.dhash, 16) ^ 0xFFF:064x}"  # 12 bits
    other = {"dhash": changed, "dhash_mirrored": make_stats(1).dhash_mirrored}
    assert find_near_duplicates([first, make_stats(1, **other, brightness=first.brightness)]) == [
        (0, 1)
    ]
    assert (
        find_near_duplicates([first, make_stats(1, **other, brightness=first.brightness + 0.1)])
        == []
    )
    light = {"brightness": first.brightness, "contrast": first.contrast + 0.1}
    assert find_near_duplicates([first, make_stats(1, **other, **light)]) == []


def test_find_near_duplicates_among_many() -> None:
    stats = [make_stats(number) for number in range(1200)]
    stats[1100] = dataclasses.replace(stats[7], sha256="x")
    assert find_near_duplicates(stats) == [(7, 1100)]


def test_group_pictures_joins_named_groups_and_duplicates() -> None:
    named = {"a": "anna", "c": "anna", "d": "bert"}
    numbers = group_pictures(["a", "b", "c", "d"], named, [(1, 3)])
    assert numbers.tolist() == [0, 1, 0, 1]
