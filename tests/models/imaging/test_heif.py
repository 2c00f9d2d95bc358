"""HEIC and AVIF: pixels, orientation, parts of a picture, and files that would cost too much."""

import contextlib
import io
import struct
import time
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

from models.errors import (
    ImageTooCostly,
    ImageTooLarge,
    PictureError,
    UndecodableImage,
    UnsupportedFormat,
)
from models.imaging import open as opening
from models.imaging.decode import OrientedImage, decode_image
from models.imaging.header import header_pixels
from models.imaging.limits import MAX_HEADER_READS
from models.imaging.memory import decoding_bytes
from models.imaging.open import open_image
from tests.images import encode, photograph
from tests.models.imaging.handmade import exchanged_profile
from tests.models.imaging.heif_files import (
    Item,
    box,
    coded,
    full_box,
    grid,
    heic,
    put_together,
    size_box,
    tiled,
)


def avif(image: Image.Image, *, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, "AVIF", exif=exif, **{"quality": 95, "speed": 10, **options})


WRITERS = pytest.mark.parametrize("write", [heic, avif])
PHOTOGRAPH = photograph(96, 64)
HEIC = heic(PHOTOGRAPH)
AVIF = avif(PHOTOGRAPH)
FILES = pytest.mark.parametrize("file", [HEIC, AVIF], ids=["heic", "avif"])


def difference(file: bytes, image: Image.Image, size: int = 48) -> float:
    """Return the mean difference of a file's pixels from those of an image as PNG."""
    found, expected = (decode_image(data, size=size).float() for data in (file, encode(image)))
    return float((found - expected).abs().mean())


@WRITERS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(write: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode_image(encode(PHOTOGRAPH, exif=exif), size=24).float()
    file = write(PHOTOGRAPH, orientation=orientation)
    assert float((decode_image(file, size=24).float() - upright).abs().mean()) < 3
    oriented = OrientedImage(open_image(file), longest_px=1920)
    assert (oriented.width, oriented.height) == ((64, 96) if orientation > 4 else (96, 64))


def test_exif_without_a_turn_of_the_file_is_ignored() -> None:
    """HEIF turns pictures by properties of its own; EXIF only records how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    PHOTOGRAPH.save(file, "HEIF", quality=90, exif=exif)
    assert b"Exif" in file.getvalue()
    assert b"irot" not in file.getvalue()
    assert difference(file.getvalue(), PHOTOGRAPH) < 3


@WRITERS
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_modes_are_shown_as_of_a_png(write: Any, mode: str) -> None:
    image = PHOTOGRAPH.convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    assert difference(write(image), image) < 3


@WRITERS
def test_colour_profile_is_converted(write: Any) -> None:
    profile = exchanged_profile()
    image = PHOTOGRAPH.copy()
    found = decode_image(write(image, icc_profile=profile), size=48).float()
    expected = decode_image(encode(image, icc_profile=profile), size=48).float()
    assert float((found - expected).abs().mean()) < 4
    assert difference(write(image, icc_profile=profile), image) > 20


def deep(image: Image.Image, **options: Any) -> bytes:
    """Return an image as HEIC of 10 bits per channel."""
    pixels = np.asarray(image).astype("<u2") * 257
    mode = {"L": "L;16", "RGB": "RGB;16", "RGBA": "RGBA;16"}[image.mode]
    file = io.BytesIO()
    pillow_heif.from_bytes(mode, image.size, pixels.tobytes()).save(file, quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_ten_bits_are_scaled_to_eight(mode: str) -> None:
    image = PHOTOGRAPH.convert(mode)
    assert difference(deep(image), image) < 3


@WRITERS
def test_the_first_picture_of_several_is_shown(write: Any) -> None:
    red, blue = (Image.new("RGB", (64, 48), name) for name in ("red", "blue"))
    if write is heic:
        files = pillow_heif.from_pillow(red)
        files.add_from_pillow(blue)
        written = io.BytesIO()
        files.save(written, quality=90, primary_index=1)
        red, file = blue, written.getvalue()
    else:
        file = avif(red, save_all=True, append_images=[blue])
        assert file[8:12] == b"avis"
    assert difference(file, red) < 3


@pytest.mark.parametrize("rows", [1, 2])
def test_grid_of_tiles_is_put_together(rows: int) -> None:
    tile = photograph(64, 64)
    expected = Image.new("RGB", (128, 64 * rows))
    for index in range(2 * rows):
        expected.paste(tile, (index % 2 * 64, index // 2 * 64))
    cut = expected.crop((0, 0, 120, 64 * rows - 4))
    for file in (
        tiled(heic(tile), rows, 2, cut.size),
        tiled(avif(tile), rows, 2, cut.size, brand=b"avif"),
    ):
        assert open_image(file).size == cut.size
        assert header_pixels(file) == cut.width * cut.height
        assert difference(file, cut) < 4


@FILES
def test_max_pixels_are_judged_from_the_header(file: bytes) -> None:
    assert header_pixels(file) == header_pixels(bytearray(file)) == 96 * 64
    open_image(file, max_pixels=96 * 64)
    with pytest.raises(ImageTooLarge, match="96 x 64 pixels are more than the 6,143 allowed"):
        open_image(file, max_pixels=96 * 64 - 1)


@WRITERS
def test_alpha_counts_for_its_memory(write: Any) -> None:
    image = PHOTOGRAPH.copy()
    image.putalpha(90)
    pixels = image.width * image.height
    assert decoding_bytes(open_image(write(image)), 48) == 24 * pixels
    assert decoding_bytes(open_image(write(PHOTOGRAPH)), 48) == 16 * pixels
    with pytest.raises(ImageTooLarge, match="take the memory of 9,216 pixels"):
        open_image(write(image), max_pixels=pixels)


def test_depth_counts_for_its_memory() -> None:
    pixels = 96 * 64
    assert decoding_bytes(open_image(deep(PHOTOGRAPH)), 48) == 16 * (pixels * 6 // 5)


# --- broken and hostile files ------------------------------------------------------------------


@FILES
def test_truncated_file_is_undecodable(file: bytes) -> None:
    for end in range(12, len(file) - 1, max(1, len(file) // 97)):
        with pytest.raises(UndecodableImage, match=r"^The (HEIC|AVIF) picture is broken"):
            decode_image(file[:end], size=8)


@FILES
def test_damaged_file_raises_picture_errors_only(file: bytes) -> None:
    random = np.random.default_rng(3)
    for _ in range(400):
        damaged = bytearray(file)
        for at in random.integers(0, min(len(file), 600), int(random.integers(1, 6))):
            damaged[at] = int(random.integers(0, 256))
        found = header_pixels(damaged)
        assert found is None or found >= 0
        with contextlib.suppress(PictureError):
            pixels = decode_image(bytes(damaged), size=8, max_pixels=100_000)
            assert pixels.shape == (3, 8, 8)


def refused(file: bytes, error: type[PictureError], match: str = ".") -> None:
    """Check that a file is refused before it is decoded."""
    begin = time.thread_time()
    with pytest.raises(error, match=match):
        open_image(file)
    assert time.thread_time() - begin < 1


LARGE = heic(Image.new("RGB", (1024, 1024), "red"))
LARGE_AVIF = avif(Image.new("RGB", (1024, 1024), "red"))


def test_tiles_larger_than_the_picture_are_counted() -> None:
    refused(tiled(LARGE, 9, 9, (16, 16)), ImageTooLarge, "take the memory of")
    refused(tiled(LARGE_AVIF, 9, 9, (16, 16), brand=b"avif"), ImageTooLarge)


def test_picture_larger_than_its_header_says_is_refused() -> None:
    with pytest.raises(UndecodableImage):  # by libheif, before it decodes
        decode_image(put_together([coded(LARGE, (16, 16))]), size=8)
    lying = put_together([coded(LARGE_AVIF, (16, 16))], brand=b"avif")
    with pytest.raises(ImageTooLarge, match="take the memory of"):
        open_image(lying, max_pixels=10_000)


def test_alpha_channel_of_another_size_is_counted() -> None:
    alpha = coded(LARGE)
    kind = full_box(b"auxC", b"urn:mpeg:hevc:2015:auxid:1\0")
    alpha.properties = [*alpha.properties, kind]
    file = put_together([coded(HEIC), alpha], [(b"auxl", 2, [1])])
    with pytest.raises(ImageTooLarge, match="alpha channel"):
        open_image(file, max_pixels=100_000)


def test_repeated_slices_are_counted() -> None:
    item = coded(LARGE)
    length = int.from_bytes(item.content[:4])
    slices = bytearray(item.content[: 4 + length])
    slices[6] &= 0x7F  # not the first one of the picture
    item.content += bytes(slices) * 400
    refused(put_together([item]), ImageTooCostly, "more slices")


def test_repeated_pictures_are_refused() -> None:
    item = coded(LARGE)
    item.content *= 2
    refused(put_together([item]), UndecodableImage, "2 coded pictures")
    item = coded(LARGE_AVIF)
    item.content *= 5
    refused(put_together([item], brand=b"avif"), ImageTooCostly, "layers")


def test_repeated_turns_are_refused() -> None:
    item = coded(LARGE)
    item.properties = [*item.properties, *[box(b"irot", b"\1")] * 50]
    refused(put_together([item]), UndecodableImage, "several properties irot")


@pytest.mark.parametrize("kind", [b"iovl", b"iden", b"jpeg", b"unci"])
def test_other_derived_pictures_are_refused(kind: bytes) -> None:
    item = Item(kind, [size_box(16, 16)], bytes(20))
    file = put_together([item, coded(HEIC)], [(b"dimg", 1, [2])])
    refused(file, UndecodableImage, f"of the kind '{kind.decode()}' is not read here")


def test_grid_of_grids_is_refused() -> None:
    items = [grid(1, 1, 96, 64), grid(1, 1, 96, 64), coded(HEIC)]
    refused(put_together(items, [(b"dimg", 1, [2]), (b"dimg", 2, [3])]), UndecodableImage)
    refused(put_together(items, [(b"dimg", 1, [1])]), UndecodableImage)


def test_endless_header_is_refused() -> None:
    many = full_box(b"iref", b"".join(struct.pack(">I4sHH", 14, b"dimg", 1, 0) + b"\0\0" for _ in
                                      range(MAX_HEADER_READS)))  # fmt: skip
    refused(put_together([coded(HEIC)], more=many), ImageTooCostly, "more parts")
    boxes = b"".join(box(struct.pack(">I", number), b"") for number in range(MAX_HEADER_READS))
    refused(put_together([coded(HEIC)], more=boxes), ImageTooCostly, "more parts")


def test_metadata_shared_by_many_pictures_is_not_copied() -> None:
    """Read for each of them, 3 MB of metadata would take 900 MB."""
    pictures = [coded(HEIC)] * 300
    items = [*pictures, Item(b"Exif", [], bytes(3_000_000))]
    file = put_together(items, [(b"cdsc", len(items), range(1, len(items)))])
    begin = time.thread_time()
    assert difference(file, PHOTOGRAPH) < 3
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize("format", ["HEIC", "AVIF"])
def test_missing_library_is_named(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "UNINSTALLED", (format,))
    match = "iPhones.*send the picture as JPEG.*pi-heif" if format == "HEIC" else "AVIF is not read"
    with pytest.raises(UnsupportedFormat, match=match):
        decode_image({"HEIC": HEIC, "AVIF": AVIF}[format], size=8)


@FILES
def test_decoded_pixels_do_not_depend_on_appended_data(file: bytes) -> None:
    """Cameras append data that is no box."""
    assert torch.equal(decode_image(file, size=8), decode_image(file + bytes(100), size=8))
