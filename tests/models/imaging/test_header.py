"""Pixel count from the header, compared with the decoder's."""

import io
import random
from typing import Any

import pytest
from PIL import Image

from models.imaging.header import header_pixels
from models.imaging.open import open_image
from tests.models.imaging.costly_pictures import many_segments, tiff

SIZE = (403, 300)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 5000}),
        ("MPO", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_header_pixels_of_each_format(format: str, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.effect_noise(SIZE, 50).convert("RGB").save(file, format, **options)
    for data in (file.getvalue(), bytearray(file.getvalue())):
        assert open_image(data).size == SIZE
        assert header_pixels(data) == SIZE[0] * SIZE[1]


def test_header_pixels_of_the_oldest_bmp_header() -> None:
    head = b"BM" + bytes(12) + (12).to_bytes(4, "little")
    assert header_pixels(head + b"\x03\x00\x05\x00\x01\x00\x18\x00") == 15


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"II*\0", b"BM"],
)
def test_header_pixels_is_none_without_a_header(data: bytes) -> None:
    assert header_pixels(data) is None


def test_header_pixels_gives_up_on_endless_headers() -> None:
    assert header_pixels(many_segments(2000)) is None
    assert header_pixels(b"\xff\xd8" + b"\xff" * 100_000) is None


def test_header_pixels_never_raises() -> None:
    source = random.Random(0)
    for whole in (many_segments(2), tiff(), tiff(big=True), b"RIFF0000WEBPVP8X" + bytes(20)):
        for _ in range(300):
            broken = bytearray(whole[: source.randrange(4, len(whole))])
            broken[source.randrange(len(broken))] = source.randrange(256)
            found = header_pixels(broken)
            assert found is None or found >= 0
