"""Metadata that no pixel needs neither refuses nor changes a picture."""

import struct
import time
import zlib
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import Tensor

from models.errors import ImageTooCostly, UndecodableImage
from models.imaging.decode import decode_image
from models.imaging.metadata import strip_jpeg_metadata, strip_png_metadata, strip_webp_metadata
from tests.images import encode, photograph
from tests.models.imaging.handmade import jpeg_segment, png_chunk

PHOTOGRAPH = photograph(90, 50)
PNG, JPEG = encode(PHOTOGRAPH), encode(PHOTOGRAPH, "JPEG")
BEFORE, BEHIND = 33, len(PNG) - 12  # the header's end, and where IEND begins
TOO_MUCH = zlib.compress(b"x" * 3_000_000)
ORIENTATION = 0x0112


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


def pixels(data: bytes) -> Tensor:
    return decode_image(data, size=24)


def inserted(chunk: bytes, at: int, png: bytes = PNG) -> bytes:
    return png[:at] + chunk + png[at:]


TURNED = pixels(encode(PHOTOGRAPH, exif=exif(6)))


@pytest.mark.parametrize("at", [BEFORE, BEHIND], ids=["before-pixels", "behind-pixels"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"tEXt", b"Comment\0x"),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"pHYs", bytes(9)),
        (b"sRGB", b"\0"),
        (b"tIME", bytes(7)),
        (b"bKGD", bytes(6)),
        (b"cHRM", bytes(32)),
        (b"tRNS", bytes(6)),
        (b"iCCP", b"x\0\0" + zlib.compress(b"profile")),
        (b"eXIf", exif(6).tobytes()[6:]),
        (b"acTL", bytes(8)),
        (b"fcTL", bytes(26)),
        (b"zzZz", b"x"),
    ],
)
def test_wrong_checksum_of_ancillary_chunk_changes_nothing(
    name: bytes, content: bytes, at: int
) -> None:
    broken = inserted(png_chunk(name, content, wrong_bits=1), at)
    assert torch.equal(pixels(broken), pixels(PNG))


@pytest.mark.parametrize("name", [b"gAMA", b"pHYs", b"cHRM", b"sRGB", b"tRNS", b"iCCP", b"acTL"])
def test_ancillary_chunk_without_content_changes_nothing(name: bytes) -> None:
    assert torch.equal(pixels(inserted(png_chunk(name, b""), BEFORE)), pixels(PNG))


def test_wrong_checksum_of_critical_chunk_is_undecodable() -> None:
    with pytest.raises(UndecodableImage, match="IHDR"):
        pixels(PNG[:29] + bytes([PNG[29] ^ 1]) + PNG[30:])
    palette = encode(PHOTOGRAPH.quantize(16))
    at = palette.index(b"PLTE")
    end = at + 4 + int.from_bytes(palette[at - 4 : at])
    with pytest.raises(UndecodableImage, match="PLTE"):
        pixels(palette[:end] + bytes([palette[end] ^ 1]) + palette[end + 1 :])


@pytest.mark.parametrize("at", [BEFORE, BEHIND], ids=["before-pixels", "behind-pixels"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"zTXt", b"Comment\0\0" + TOO_MUCH),
        (b"zTXt", b"Raw profile type exif\0\0" + TOO_MUCH),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + TOO_MUCH),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 3_000_000),
        (b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        (b"iCCP", b"x\0\0" + TOO_MUCH),
    ],
    ids=["text", "raw-profile", "xmp", "plain-xmp", "plain-text", "profile"],
)
def test_long_metadata_changes_nothing(name: bytes, content: bytes, at: int) -> None:
    assert torch.equal(pixels(inserted(png_chunk(name, content), at)), pixels(PNG))


def test_png_is_turned_upright_wherever_its_orientation_stands() -> None:
    content = exif(6).tobytes()
    raw = f"\nexif\n{len(content):8}\n{content.hex()}\n".encode()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for chunk in (
        png_chunk(b"eXIf", content[6:]),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
    ):
        for at in (BEFORE, BEHIND):
            assert torch.equal(pixels(inserted(chunk, at)), TURNED), (chunk[4:30], at)
    before = inserted(png_chunk(b"eXIf", content[6:]), BEFORE)
    long_text = png_chunk(b"zTXt", b"Comment\0\0" + TOO_MUCH)
    assert torch.equal(pixels(before[:-12] + long_text + before[-12:]), TURNED)


@pytest.mark.parametrize(
    "broken",
    [
        PNG[:-12],
        PNG[:-6],
        PNG + b"anything" * 20,
        PNG[:-12] + b"\0\0\0\1\1\1\1\1",
        PNG[:-12] + png_chunk(b"zTXt", b"x" * 99)[:40],
        PNG[:-12] + b"\x7f\xff\xff\xfftEXt" + PNG[-12:],
    ],
    ids=["no-iend", "half-iend", "tail", "no-name", "cut-text", "endless-text"],
)
def test_whatever_follows_the_pixels_of_a_png_changes_nothing(broken: bytes) -> None:
    assert torch.equal(pixels(broken), pixels(PNG))


def test_png_whose_pixels_are_cut_short_is_undecodable() -> None:
    for length in range(BEFORE, BEHIND - 8, 97):
        with pytest.raises(UndecodableImage):
            pixels(PNG[:length])


def test_transparency_and_animation_are_read_as_before() -> None:
    colour = Image.new("RGB", (8, 8), (1, 2, 3))
    assert int(pixels(encode(colour, transparency=(1, 2, 3))).min()) == 255
    frames = [photograph(24, 24, seed) for seed in (1, 2, 3)]
    for has_default in (False, True):
        data = encode(frames[0], save_all=True, append_images=frames[1:], default_image=has_default)
        assert torch.equal(pixels(data), pixels(encode(frames[0])))
        assert torch.equal(pixels(data[:-200]), pixels(encode(frames[0])))


def test_png_with_needed_chunks_only_is_not_copied() -> None:
    for data in (PNG, encode(PHOTOGRAPH.quantize(16), transparency=3), PNG + b"tail"):
        assert strip_png_metadata(data) is data


def test_png_with_too_many_chunks_is_refused() -> None:
    with pytest.raises(ImageTooCostly):
        strip_png_metadata(inserted(png_chunk(b"prVt", b"") * 20_000, BEFORE))


def test_only_the_first_profile_of_a_png_is_unpacked() -> None:
    bomb = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9))
    data = inserted(bomb * 600, BEFORE)  # each takes 3 ms to unpack
    assert torch.equal(decode_image(data, size=24, decode_s=0.5), pixels(PNG))
    begin = time.thread_time()
    strip_png_metadata(data)
    assert time.thread_time() - begin < 0.5


def test_png_of_very_many_pixel_chunks_is_whole() -> None:
    at = PNG.index(b"IDAT") - 4
    assert torch.equal(pixels(inserted(png_chunk(b"IDAT", b"") * 200_001, at)), pixels(PNG))


@pytest.mark.parametrize("at", [2, 20], ids=["first", "behind-jfif"])
@pytest.mark.parametrize(
    "segment",
    [
        jpeg_segment(0xE2, b"ICC_PROFILE\0"),
        jpeg_segment(0xE2, b"ICC_PROFILE\0\2\3" + bytes(30)),
        jpeg_segment(0xE2, b"MPF\0"),
        jpeg_segment(0xE0, b"JFIF"),
        jpeg_segment(0xEE, b"Adobe"),
        jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\4"),
        jpeg_segment(0xE1, b"Exif\0\0anything"),
        jpeg_segment(0xFE, b""),
    ],
    ids=["icc", "icc-part", "mpf", "jfif", "adobe", "photoshop", "exif", "comment"],
)
def test_broken_segment_of_a_jpeg_changes_nothing(segment: bytes, at: int) -> None:
    assert torch.equal(pixels(inserted(segment, at, JPEG)), pixels(JPEG))


def test_jpeg_with_a_broken_segment_is_turned_upright() -> None:
    turned = encode(PHOTOGRAPH, "JPEG", exif=exif(6))
    broken = inserted(jpeg_segment(0xE2, b"ICC_PROFILE\0"), 2, turned)
    assert torch.equal(pixels(broken), pixels(turned))


def test_webp_whose_metadata_is_cut_short_is_read() -> None:
    data = encode(PHOTOGRAPH, "WEBP", exif=exif(6), xmp=b"x" * 500)
    assert torch.equal(pixels(data[:-100]), pixels(data))
    plain = encode(PHOTOGRAPH, "WEBP")
    for length in (b"\xff\xff\xff\x7f", b"\x14\0\0\0"):
        assert torch.equal(pixels(plain[:4] + length + plain[8:]), pixels(plain))
    with pytest.raises(UndecodableImage):
        pixels(plain[:-20])


def test_first_frame_of_a_webp_cut_short_is_read() -> None:
    frames = [photograph(64, 64, seed) for seed in (1, 2, 3)]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert torch.equal(pixels(data[:-60]), pixels(data))


@pytest.mark.parametrize(
    ("needed", "data"),
    [
        (strip_png_metadata, encode(PHOTOGRAPH, exif=exif(6), transparency=(1, 2, 3))),
        (strip_jpeg_metadata, encode(PHOTOGRAPH, "JPEG", exif=exif(6))),
        (strip_webp_metadata, encode(PHOTOGRAPH, "WEBP", exif=exif(6), xmp=b"x" * 40)),
    ],
)
def test_files_cut_short_anywhere_can_be_rewritten(
    needed: Callable[[bytes], bytes], data: bytes
) -> None:
    for length in (*range(100), *range(100, len(data), 23)):
        assert len(needed(data[:length])) <= length + 12
