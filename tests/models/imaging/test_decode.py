"""Decoding: formats, modes, orientation, scaling, and broken pictures."""

import io
import struct
import warnings
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from models.errors import (
    ImageTooCostly,
    PictureError,
    UndecodableImage,
    UnsupportedFormat,
)
from models.imaging.decode import OrientedImage, decode_image, decode_opened, upright_size
from models.imaging.open import PLUGINS, open_image
from tests.images import encode, photograph
from tests.models.imaging.handmade import bmp32, grey_tiff, png

ORIENTATION = 0x0112


def pixels_of(image: Image.Image) -> Tensor:
    """Return (3, S, S) of an upright RGB picture of size S."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def mean_difference(one: Tensor, other: Tensor) -> float:
    return float((one.to(torch.float32) - other.to(torch.float32)).abs().mean())


def colour(data: bytes) -> tuple[int, ...]:
    """Return the one colour of a plain picture."""
    flat = decode_image(data, size=4).flatten(1)
    assert (flat == flat[:, :1]).all(), "not plain"
    return tuple(flat[:, 0].tolist())


# --- shape of the result --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 32, 224])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (40, 30), (500, 333)])
def test_decode_image_returns_contiguous_uint8_planes(size: int, shape: tuple[int, int]) -> None:
    pixels = decode_image(encode(photograph(*shape)), size=size)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, size, size)
    assert pixels.is_contiguous()


def test_every_format_has_its_plugin() -> None:
    for name, plugin in PLUGINS.items():
        if name != "HEIC":  # of our own
            assert plugin.__name__.upper() == f"PIL.{name}IMAGEPLUGIN"


def test_decoded_pixels_are_writable() -> None:
    pixels = decode_image(encode(photograph()), size=8)
    pixels.zero_()
    assert int(decode_image(encode(photograph()), size=8).sum()) > 0


def test_decode_image_is_deterministic() -> None:
    data = encode(photograph(640, 480), "JPEG")
    assert torch.equal(decode_image(data, size=96), decode_image(data, size=96))


# --- formats and modes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "allowed"),
    [
        ("JPEG", {"quality": 98, "subsampling": 0}, 1.5),
        ("JPEG", {"quality": 98, "subsampling": 0, "progressive": True}, 1.5),
        ("PNG", {}, 0.0),
        ("PNG", {"compress_level": 0}, 0.0),
        ("WEBP", {"lossless": True}, 0.0),
        ("WEBP", {"quality": 95}, 4.0),
        ("BMP", {}, 0.0),
        ("TIFF", {}, 0.0),
        ("TIFF", {"compression": "tiff_lzw"}, 0.0),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0.0),
        ("GIF", {}, 25.0),  # 256 colours
    ],
)
def test_decode_image_reads_every_format(
    kind: str, options: dict[str, Any], allowed: float
) -> None:
    drawn = photograph(32, 32)
    pixels = decode_image(encode(drawn, kind, **options), size=32)
    assert mean_difference(pixels, pixels_of(drawn)) <= allowed


def test_decode_image_reads_the_first_picture_of_an_mpo() -> None:
    data = encode(
        photograph(32, 32), "MPO", save_all=True, append_images=[photograph(32, 32, 9)], quality=98
    )
    assert open_image(data).format == "MPO"
    assert mean_difference(decode_image(data, size=32), pixels_of(photograph(32, 32))) < 4.0


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True})])
def test_decode_image_reads_the_first_frame_of_an_animation(
    kind: str, options: dict[str, Any]
) -> None:
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "blue", "lime")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert colour(data) == (255, 0, 0)


def test_decode_image_reads_the_first_page_of_a_tiff() -> None:
    pages = [Image.new("RGB", (8, 8), name) for name in ("red", "blue")]
    assert colour(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])) == (255, 0, 0)


def rgba(*colour: int) -> Image.Image:
    return Image.new("RGBA", (8, 8), colour)


def keyed(image: Image.Image, key: Any, kind: str = "PNG") -> bytes:
    return encode(image, kind, transparency=key)


PALETTE = Image.new("P", (8, 8), 1)
PALETTE.putpalette([10, 20, 30, 200, 100, 50])


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        pytest.param(encode(Image.new("L", (8, 8), 77)), (77,) * 3, id="grey"),
        pytest.param(encode(Image.new("L", (8, 8), 77), "JPEG"), (77,) * 3, id="grey-jpeg"),
        pytest.param(encode(Image.new("1", (8, 8), 1)), (255,) * 3, id="1-bit-white"),
        pytest.param(encode(Image.new("1", (8, 8), 0)), (0,) * 3, id="1-bit-black"),
        pytest.param(encode(Image.new("1", (8, 8), 1), "TIFF"), (255,) * 3, id="1-bit-tiff"),
        pytest.param(encode(PALETTE), (200, 100, 50), id="palette"),
        pytest.param(encode(PALETTE, "BMP"), (200, 100, 50), id="palette-bmp"),
        pytest.param(keyed(PALETTE, 1), (255,) * 3, id="palette-clear"),
        pytest.param(keyed(PALETTE, 0), (200, 100, 50), id="palette-other-clear"),
        pytest.param(keyed(PALETTE, b"\x00\x80"), (227, 177, 152), id="palette-half-clear"),
        pytest.param(keyed(PALETTE, 1, "GIF"), (255,) * 3, id="gif-clear"),
        pytest.param(encode(rgba(0, 0, 0, 0)), (255,) * 3, id="rgba-clear"),
        pytest.param(encode(rgba(0, 0, 0, 128)), (127,) * 3, id="rgba-half"),
        pytest.param(encode(rgba(9, 8, 7, 255)), (9, 8, 7), id="rgba-solid"),
        pytest.param(
            encode(rgba(0, 0, 0, 0), "WEBP", lossless=True, exact=True), (255,) * 3, id="webp-clear"
        ),
        pytest.param(encode(rgba(0, 0, 0, 0), "TIFF"), (255,) * 3, id="tiff-clear"),
        pytest.param(encode(Image.new("LA", (8, 8), (0, 0))), (255,) * 3, id="la-clear"),
        pytest.param(encode(Image.new("LA", (8, 8), (60, 255))), (60,) * 3, id="la-solid"),
        pytest.param(
            keyed(Image.new("RGB", (8, 8), (1, 2, 3)), (1, 2, 3)), (255,) * 3, id="rgb-key"
        ),
        pytest.param(
            keyed(Image.new("RGB", (8, 8), (1, 2, 3)), (1, 2, 4)), (1, 2, 3), id="rgb-other-key"
        ),
        pytest.param(keyed(Image.new("L", (8, 8), 5), 5), (255,) * 3, id="grey-key"),
        pytest.param(keyed(Image.new("L", (8, 8), 5), 6), (5,) * 3, id="grey-other-key"),
        pytest.param(keyed(Image.new("1", (8, 8), 0), 0), (255,) * 3, id="1-bit-key"),
        pytest.param(keyed(Image.new("1", (8, 8), 0), 1), (0,) * 3, id="1-bit-other-key"),
        pytest.param(encode(Image.new("I;16", (8, 8), 100 * 257)), (100,) * 3, id="16-bit-png"),
        pytest.param(
            encode(Image.new("I;16", (8, 8), 100 * 257), "TIFF"), (100,) * 3, id="16-bit-tiff"
        ),
        pytest.param(
            encode(Image.new("I;16", (8, 8), 65535)), (255,) * 3, id="16-bit-png-white"
        ),
        pytest.param(encode(Image.new("I", (8, 8), 65535), "TIFF"), (255,) * 3, id="32-bit-tiff"),
        pytest.param(encode(Image.new("F", (8, 8), 0.5), "TIFF"), (127,) * 3, id="float-0-1"),
        pytest.param(encode(Image.new("F", (8, 8), 90.0), "TIFF"), (90,) * 3, id="float-0-255"),
        pytest.param(
            encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), id="cmyk-tiff"
        ),
        pytest.param(
            png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *[257 * v for v in (9, 8, 7)] * 2)),
            (9, 8, 7),
            id="rgb-16-bit",
        ),
        pytest.param(
            png(
                2, 1, 16, 0, b"\0" + struct.pack(">2H", 25700, 25700),
                (b"tRNS", struct.pack(">H", 7)),
            ),
            (100,) * 3,
            id="16-bit-other-key",
        ),
        pytest.param(
            png(
                2, 1, 16, 0, b"\0" + struct.pack(">2H", 65535, 65535),
                (b"tRNS", struct.pack(">H", 0)),
            ),
            (255,) * 3,
            id="16-bit-black-key",
        ),
        pytest.param(png(8, 1, 1, 0, b"\0\xff"), (255,) * 3, id="1-bit-by-hand"),
        pytest.param(png(4, 1, 2, 0, b"\0\xaa"), (170,) * 3, id="2-bit-grey"),
        pytest.param(png(2, 1, 4, 0, b"\0\x77"), (119,) * 3, id="4-bit-grey"),
    ],
)  # fmt: skip
def test_decode_image_converts_every_mode_as_a_viewer_does(
    data: bytes, shown: tuple[int, ...]
) -> None:
    found = colour(data)
    assert all(abs(a - b) <= 1 for a, b in zip(found, shown, strict=True)), found


def test_decode_image_converts_cmyk_jpegs() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = colour(encode(ink, "JPEG", quality=95))
    assert (red > 245, green < 10, blue < 10) == (True, True, True)


def test_transparent_edges_do_not_bleed_their_hidden_colour() -> None:
    picture = rgba(0, 255, 0, 0)  # clear, but green underneath
    picture.paste((255, 255, 255, 255), (0, 0, 4, 8))
    assert int(decode_image(encode(picture), size=3).min()) >= 254


# --- orientation ---------------------------------------------------------------------------


def oriented(image: Image.Image, orientation: int, kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
    ids=["jpeg", "png", "webp", "tiff", "tiff-lzw"],
)
def test_decode_image_applies_every_orientation(
    kind: str, options: dict[str, Any], orientation: int
) -> None:
    data = oriented(photograph(90, 50), orientation, kind, **options)
    with Image.open(io.BytesIO(data)) as stored:
        upright = ImageOps.exif_transpose(stored).convert("RGB")
    wanted = pixels_of(upright.resize((24, 24), Image.Resampling.BILINEAR))
    assert mean_difference(decode_image(data, size=24), wanted) < 2.0


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 20)), (6, (20, 30))])
def test_size_is_that_of_the_upright_picture(
    format: str, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, format, exif=exif)
    assert upright_size(open_image(file.getvalue())) == size
    pixels, decoded_size = decode_opened(open_image(file.getvalue()), size=8)
    assert pixels.shape == (3, 8, 8)
    assert decoded_size == size
    oriented = OrientedImage(open_image(file.getvalue()), longest_px=100)
    assert (oriented.width, oriented.height) == size


def test_orientations_differ_from_one_another() -> None:
    shown = {
        decode_image(oriented(photograph(), orientation, "PNG"), size=24).numpy().tobytes()
        for orientation in range(1, 9)
    }
    assert len(shown) == 8


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_unknown_orientation_counts_as_upright(value: int) -> None:
    assert torch.equal(
        decode_image(oriented(photograph(), value, "PNG"), size=16),
        decode_image(encode(photograph()), size=16),
    )


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage that is no TIFF header",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0up!\0\0\0\0\0",
    ],
    ids=["empty", "text", "far-offset", "too-many-entries", "text-orientation"],
)
def test_decode_image_ignores_broken_exif(exif: bytes) -> None:
    plain = encode(photograph(), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of it
        found = decode_image(plain[:2] + segment + plain[2:], size=16)
    assert torch.equal(found, decode_image(plain, size=16))


# --- large pictures ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1600, 1200), (1201, 1603), (3000, 400)])
def test_jpeg_decoded_at_a_fraction_looks_like_a_full_decode(
    shape: tuple[int, int],
) -> None:
    data = encode(photograph(*shape), "JPEG", quality=92)
    with Image.open(io.BytesIO(data)) as image:
        full = image.convert("RGB").resize((96, 96), Image.Resampling.BILINEAR)
    difference = (decode_image(data, size=96).float() - pixels_of(full).float()).abs()
    assert float(difference.mean()) < 2.0
    assert float(difference.max()) < 24.0


def test_decode_image_resizes_with_antialiasing() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_image(encode(Image.fromarray(stripes)), size=16).float()
    assert float((pixels - 127.5).abs().mean()) < 2.0


# --- broken pictures ------------------------------------------------------------------------


def samples() -> dict[str, bytes]:
    drawn = photograph(40, 30)
    return {
        "jpeg": encode(drawn, "JPEG"),
        "progressive": encode(drawn, "JPEG", progressive=True),
        "png": encode(drawn),
        "webp": encode(drawn, "WEBP"),
        "lossless": encode(drawn, "WEBP", lossless=True),
        "bmp": encode(drawn, "BMP"),
        "gif": encode(drawn, "GIF"),
        "tiff": encode(drawn, "TIFF"),
        "tiff-lzw": encode(drawn, "TIFF", compression="tiff_lzw"),
        "exif": oriented(drawn, 6, "JPEG"),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "gif"])
def test_truncated_picture_raises_undecodable_image(name: str) -> None:
    data = SAMPLES[name]
    # The last bytes hold end marks and metadata that no pixel needs.
    for end in {len(data) * part // 20 for part in range(1, 18)}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises((UnsupportedFormat, UndecodableImage)):
                decode_image(data[:end], size=16)


def test_truncated_jpeg_is_reported_in_one_line() -> None:
    data = encode(photograph(400, 300), "JPEG")
    with pytest.raises(UndecodableImage, match=r"^The JPEG picture is broken or cut short \(.+\)"):
        decode_image(data[: len(data) // 2], size=16)


@pytest.mark.parametrize(("at", "value"), [(8 + 8 + 3, 0), (8 + 12, 255), (8 + 8 + 8, 3)])
def test_impossible_header_raises_undecodable_image(at: int, value: int) -> None:
    data = bytearray(SAMPLES["png"])
    data[at] = value
    with pytest.raises(PictureError):
        decode_image(bytes(data), size=8)


@pytest.mark.parametrize("strict", [True, False], ids=["warnings-raise", "warnings-pass"])
def test_damaged_files_raise_picture_errors_only(strict: bool) -> None:
    random = np.random.default_rng(20 + strict)
    texts: list[str] = []
    decoded = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        for data in SAMPLES.values():
            for _ in range(150):
                damaged = bytearray(data)
                # Half of the damage is done to the header, where most branches are.
                reach = len(data) if random.random() < 0.5 else min(len(data), 120)
                for index in random.integers(0, reach, int(random.integers(1, 12))):
                    damaged[index] = int(random.integers(0, 256))
                if random.random() < 0.3:
                    del damaged[int(random.integers(0, len(damaged))) :]
                try:
                    pixels = decode_image(bytes(damaged), size=16, max_pixels=1_000_000)
                except PictureError as error:
                    texts.append(str(error))
                else:
                    decoded += 1
                    assert pixels.shape == (3, 16, 16)
    assert decoded > 100
    assert len(texts) > 500
    assert max(map(len, texts)) < 250
    assert not any("\n" in text for text in texts)


# --- pixels as a viewer shows them ---------------------------------------------------------


def with_alpha(alpha: int) -> np.ndarray:
    """Return (32, 32, 4) in the order of a BMP's bytes."""
    bgr = np.array(photograph(32, 32))[..., ::-1]
    return np.dstack([bgr, np.full((32, 32), alpha, dtype=np.uint8)])


@pytest.mark.parametrize(
    ("header_bytes", "compression"),
    [(40, 0), (40, 3), (52, 3), (56, 3), (108, 3), (124, 3), (108, 0), (124, 0)],
)
@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("alpha", [0, 255])
def test_bmp_with_an_unset_alpha_channel_is_opaque(
    header_bytes: int, compression: int, top_down: bool, alpha: int
) -> None:
    data = bmp32(
        with_alpha(alpha), header_bytes=header_bytes, compression=compression, top_down=top_down
    )
    assert torch.equal(decode_image(data, size=32), pixels_of(photograph(32, 32)))


@pytest.mark.parametrize("masks", [(0, 0, 0, 0), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)])
def test_bmp_masks_order_the_colours(masks: tuple[int, ...]) -> None:
    pixels = with_alpha(0) if not any(masks) else with_alpha(0)[..., [2, 1, 0, 3]]
    data = bmp32(pixels, header_bytes=124, compression=3, masks=masks)
    assert torch.equal(decode_image(data, size=32), pixels_of(photograph(32, 32)))


def test_bmp_with_an_alpha_channel_is_transparent() -> None:
    pixels = with_alpha(255)
    pixels[:, :16, 3] = 0
    found = decode_image(bmp32(pixels, header_bytes=124, compression=3), size=32)
    assert (found[..., :15] == 255).all()
    assert torch.equal(found[..., 17:], pixels_of(photograph(32, 32))[..., 17:])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tiff_with_an_unset_alpha_channel_is_opaque(compression: str) -> None:
    clear = photograph(32, 32)
    clear.putalpha(0)
    data = encode(clear, "TIFF", compression=compression)
    assert torch.equal(decode_image(data, size=32), pixels_of(photograph(32, 32)))


def deep_values(bits: int, sample_format: int) -> np.ndarray:
    """Return a grey picture's values, (32, 32)."""
    grey = np.array(photograph(32, 32).convert("L"))
    if sample_format == 3:
        return (grey / 255).astype(np.float32)
    return grey if bits == 8 else grey.astype(np.uint16) * 257


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize(("bits", "sample_format"), [(8, 1), (16, 1), (32, 3)])
def test_grey_tiff_is_shown_in_every_depth_and_order(
    bits: int, sample_format: int, photometric: int, order: Literal["<", ">"]
) -> None:
    values = deep_values(bits, sample_format)
    white = {1: 2**bits - 1, 3: 1}[sample_format]
    rows = values if photometric else (white - values).astype(values.dtype)
    data = grey_tiff(
        rows, bits=bits, order=order, photometric=photometric, sample_format=sample_format
    )
    expected = pixels_of(photograph(32, 32).convert("L").convert("RGB"))
    difference = decode_image(data, size=32).int() - expected.int()
    assert int(difference.abs().max()) <= 1


def test_12_bit_tiff_is_shown_in_its_full_range() -> None:
    twelve = np.array(photograph(32, 32).convert("L")).astype(int).reshape(-1, 2) * 4095 // 255
    first, second = twelve[:, 0], twelve[:, 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    data = grey_tiff(packed.astype(np.uint8).reshape(32, -1), bits=12, width=32)
    expected = pixels_of(photograph(32, 32).convert("L").convert("RGB"))
    assert mean_difference(decode_image(data, size=32), expected) <= 1


def test_white_is_zero_tiff_is_turned_upright() -> None:
    values = deep_values(16, 1)
    one, other = (
        grey_tiff(rows, bits=16, photometric=photometric, orientation=6)
        for rows, photometric in ((values, 1), (65535 - values, 0))
    )
    assert torch.equal(decode_image(one, size=32), decode_image(other, size=32))


def test_deep_tiff_in_planes_is_refused() -> None:
    planes = np.zeros((3, 8, 8), np.uint16).tobytes()
    tags = [
        (256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 3, 14), (277, 3, 1, 3), (278, 4, 1, 8), (279, 4, 3, 26), (284, 3, 1, 2),
    ]  # fmt: skip
    lists = struct.pack("<3H6I", 16, 16, 16, 38, 166, 294, 128, 128, 128)
    data = bytearray(b"II*\0" + struct.pack("<I", 38 + len(planes)) + lists + planes)
    data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    with pytest.raises(UndecodableImage, match="one plane"):
        decode_image(bytes(data + bytes(4)), size=8)


def test_decode_image_bounds_its_processor_time() -> None:
    with pytest.raises(ImageTooCostly, match="longer than 0 s"):
        decode_image(encode(photograph()), size=8, decode_s=0)
