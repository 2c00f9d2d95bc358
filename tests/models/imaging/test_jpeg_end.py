"""JPEG files without their end mark: one verdict and the same pixels, at every size."""

from typing import Any

import pytest
import torch

from models.errors import UndecodableImage
from models.imaging.decode import decode_image
from models.imaging.faces import open_oriented
from models.imaging.memory import decoding_bytes, largest_picture_bytes, searching_bytes
from models.imaging.open import open_image
from tests.images import encode, photograph

KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


def jpeg(kind: str, size: tuple[int, int]) -> bytes:
    return encode(photograph(*size), "JPEG", quality=92, **KINDS[kind])


@pytest.mark.parametrize("size", [(40, 30), (224, 224), (1280, 960)])
@pytest.mark.parametrize("kind", KINDS)
def test_jpeg_without_its_end_mark_has_the_same_pixels(kind: str, size: tuple[int, int]) -> None:
    data = jpeg(kind, size)
    whole = decode_image(data, size=64)
    for lacking in (data[:-1], data[:-2], data[:-2] + b"\0", data[:-2] + bytes(16)):
        assert torch.equal(decode_image(lacking, size=64), whole)


@pytest.mark.parametrize("size", [(40, 30), (224, 224), (1280, 960)])
@pytest.mark.parametrize("kind", KINDS)
def test_jpeg_that_lacks_pixels_is_undecodable(kind: str, size: tuple[int, int]) -> None:
    data = jpeg(kind, size)
    for length in (-3, -4, -6, -20, len(data) * 9 // 10, len(data) // 2):
        with pytest.raises(UndecodableImage):
            decode_image(data[:length], size=64)


def test_progressive_jpeg_cut_between_two_scans_is_undecodable() -> None:
    data = jpeg("progressive", (224, 224))
    with pytest.raises(UndecodableImage):
        decode_image(data[: data.rindex(b"\xff\xc4")], size=64)


def test_orientation_and_faces_need_no_end_mark() -> None:
    exif = photograph().getexif()
    exif[0x0112] = 6
    data = encode(photograph(90, 50), "JPEG", exif=exif)
    assert torch.equal(decode_image(data[:-2], size=24), decode_image(data, size=24))
    oriented = open_oriented(data[:-2])
    assert (oriented.width, oriented.height) == (50, 90)


def test_memory_counts_the_full_size_without_an_end_mark() -> None:
    data = jpeg("baseline", (1280, 960))
    assert decoding_bytes(open_image(data), 64) == 16 * 160 * 120
    assert decoding_bytes(open_image(data[:-2]), 64) == 16 * 1280 * 960
    large = jpeg("progressive", (5000, 4000))[:-2]
    for needed in (decoding_bytes(open_image(large), 224), searching_bytes(open_image(large))):
        assert 16 * 20_000_000 <= needed <= largest_picture_bytes(20_000_000)
