"""Opening: pixel limits, unsupported files, headers that are broken or too costly."""

import struct
import warnings
from collections.abc import Callable

import pytest
from PIL import Image

from models.errors import (
    EmptyPicture,
    ImageTooCostly,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedFormat,
)
from models.imaging.decode import decode_image
from models.imaging.limits import MAX_PIXELS, MAX_PIXELS_CEILING
from models.imaging.open import open_image
from tests.images import encode, photograph
from tests.models.imaging.handmade import png


def announcing(width: int, height: int) -> bytes:
    return png(width, height, 8, 2, b"\0")


@pytest.mark.parametrize("strict", [True, False], ids=["warnings-raise", "warnings-pass"])
@pytest.mark.parametrize(
    ("width", "height"),
    [(100_000, 100_000), (50_001, 1000), (1, 50_000_001), (9500, 9500), (20_000, 9_000)],
)
def test_decompression_bomb_is_refused_from_its_header(
    width: int, height: int, strict: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        with pytest.raises(ImageTooLarge, match="allowed"):
            decode_image(announcing(width, height), size=8)


def test_max_pixels_is_inclusive() -> None:
    data = encode(photograph(20, 10))
    assert decode_image(data, size=8, max_pixels=200).shape == (3, 8, 8)
    with pytest.raises(ImageTooLarge, match=r"20 x 10 pixels are more than the 199 allowed"):
        decode_image(data, size=8, max_pixels=199)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_max_pixels_holds_for_every_format(kind: str) -> None:
    with pytest.raises(ImageTooLarge):
        decode_image(encode(photograph(40, 30), kind), size=8, max_pixels=1199)


def test_max_pixels_ceiling_is_pillow_s_own() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MAX_PIXELS < MAX_PIXELS_CEILING <= 2 * Image.MAX_IMAGE_PIXELS


def test_empty_file_raises_empty_picture() -> None:
    with pytest.raises(EmptyPicture, match="empty"):
        decode_image(b"", size=8)


def _ico() -> bytes:
    return encode(photograph(16, 16), "ICO")


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"just text, no picture\n" * 20,
        lambda: b"\0",
        lambda: bytes(5000),
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        lambda: b"%PDF-1.7\n%%EOF\n",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        lambda: b"GIF",
        _ico,
        lambda: encode(photograph(16, 16), "PPM"),
        lambda: encode(photograph(16, 16), "TGA"),
        lambda: encode(photograph(16, 16), "PDF"),
        lambda: encode(photograph(16, 16), "EPS"),
    ],
    ids=[
        "text", "nul", "zeros", "svg", "pdf-header", "eps-header", "gif-start",
        "ico", "ppm", "tga", "pdf", "eps",
    ],
)  # fmt: skip
def test_other_files_raise_unsupported_format(make: Callable[[], bytes]) -> None:
    with pytest.raises(UnsupportedFormat, match="JPEG, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF"):
        decode_image(make(), size=8)


def test_any_plugin_exception_raises_undecodable_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def choke(*_: object, **__: object) -> None:
        raise RuntimeError("plugin at 0x7f0012 of\nmany lines")

    monkeypatch.setattr("models.imaging.open.Image.open", choke)
    with pytest.raises(UndecodableImage) as caught:
        open_image(encode(photograph()))
    assert "0x" not in str(caught.value)
    assert "RuntimeError" in str(caught.value)


def tiff_with(tag: int, *, kind: int, values: int) -> bytes:
    """Return a TIFF of which one tag has `values` values of two bytes each."""
    data = bytearray(encode(photograph(), "TIFF"))
    end = len(data)
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, entry) == (tag,):
            struct.pack_into("<HII", data, entry + 2, kind, values, end)
    return bytes(data) + b"\x2c\x01" * values


@pytest.mark.parametrize("tag", [258, 277])
def test_tiff_with_too_many_numbers_is_refused_before_they_are_made(tag: int) -> None:
    with pytest.raises(ImageTooCostly):
        decode_image(tiff_with(tag, kind=3, values=70_000), size=8)


@pytest.mark.parametrize("tail", [b"", bytes(100)])
def test_big_tiff_pointing_beyond_its_end_is_refused(tail: bytes) -> None:
    with pytest.raises((UnsupportedFormat, UndecodableImage)):
        decode_image(b"II+\0\x08\0\0\0" + b"\xff" * 8 + tail, size=8)
