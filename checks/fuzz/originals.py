"""Valid small images of every supported format, and of some that must be refused."""

import functools
import io
import zlib
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from tests.models.imaging.handmade import (
    bmp32,
    exchanged_profile,
    grey_tiff,
    jpeg_segment,
    png_chunk,
    with_frame,
)
from tests.models.imaging.heif_files import heic, tiled

_NOT_READ: Final = {"ICO": "ICO", "PPM": "PPM", "TGA": "TGA", "PCX": "PCX"}


@functools.cache
def originals() -> dict[str, bytes]:
    """Return encoded files by a name that describes them."""
    rgb = _drawing("RGB")
    grey, cmyk, rgba = rgb.convert("L"), rgb.convert("CMYK"), _drawing("RGBA")
    sixteen = grey.convert("I").point(lambda value: value * 257).convert("I;16")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a turned picture"

    def several(kind: str) -> bytes:
        return _saved(rgb, kind, save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)])

    found = {
        "jpeg": _saved(rgb, "JPEG", exif=exif),
        "jpeg progressive": _saved(rgb, "JPEG", progressive=True),
        "jpeg cmyk": _saved(cmyk, "JPEG"),
        "jpeg grey, restarts": _saved(grey, "JPEG", restart_marker_rows=1),
        "mpo": several("MPO"),
        "png": _saved(rgb, "PNG", exif=exif),
        "png alpha": _saved(rgba, "PNG"),
        "png palette": _saved(rgb.quantize(16), "PNG", transparency=3),
        "png 16 bit": _saved(sixteen, "PNG"),
        "png animated": several("PNG"),
        "webp": _saved(rgb, "WEBP", exif=exif),
        "webp lossless": _saved(rgba, "WEBP", lossless=True),
        "webp animated": several("WEBP"),
        "gif": _saved(rgb.quantize(16), "GIF", transparency=2),
        "gif animated": several("GIF"),
        "tiff": _saved(rgb, "TIFF", exif=exif),
        "tiff lzw": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff deflate": _saved(rgba, "TIFF", compression="tiff_deflate"),
        "tiff jpeg": _saved(rgb, "TIFF", compression="jpeg"),
        "tiff fax": _saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff 16 bit": _saved(sixteen, "TIFF"),
        "tiff float": _saved(grey.convert("F"), "TIFF"),
        "tiff pages": several("TIFF"),
        "bmp": _saved(rgb, "BMP"),
        "bmp palette": _saved(rgb.quantize(16), "BMP"),
        "bmp one bit": _saved(rgb.convert("1"), "BMP"),
        "heic": heic(rgb, orientation=6),
        "heic alpha": heic(rgba),
        "heic profile": heic(
            grey, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        ),
        "heic tiles": tiled(heic(rgb.resize((64, 64))), 2, 2, (120, 100)),
        "avif": _saved(rgb, "AVIF", exif=exif),
        "avif alpha": _saved(rgba, "AVIF"),
        "avif animated": several("AVIF"),
    }
    found |= _odd(rgb, found)
    for name, kind in _NOT_READ.items():
        found[f"{name.lower()}, not read"] = _saved(rgb.resize((32, 32)), kind)
    return found


def _odd(rgb: Image.Image, plain: dict[str, bytes]) -> dict[str, bytes]:
    """Return pictures with odd metadata, colours or depths, by name."""
    jpeg, png, profile = plain["jpeg"], plain["png"], exchanged_profile()
    grey = np.array(rgb.convert("L"))
    unset_alpha = np.dstack([np.array(rgb)[..., ::-1], np.zeros_like(grey)])
    long_text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))
    deep = grey.astype(np.uint16) * 257
    return {
        "jpeg no end mark": jpeg[:-2],
        "jpeg progressive no end mark": plain["jpeg progressive"][:-2],
        "jpeg broken profile": jpeg[:2] + jpeg_segment(0xE2, b"ICC_PROFILE\0") + jpeg[2:],
        "jpeg profile": _saved(rgb, "JPEG", icc_profile=profile),
        "jpeg 12 bit": with_frame(jpeg, bits=12),
        "png profile": _saved(rgb, "PNG", icc_profile=profile),
        "png wrong checksum": png[:33] + png_chunk(b"pHYs", bytes(9), wrong_bits=1) + png[33:],
        "png long text": png[:33] + long_text + png[33:],
        "webp profile": _saved(rgb, "WEBP", icc_profile=profile, exif=b"Exif\0\0"),
        "tiff profile": _saved(rgb, "TIFF", icc_profile=profile),
        "tiff white is zero": grey_tiff(deep, bits=16, order=">", photometric=0),
        "bmp unset alpha": bmp32(unset_alpha, header_bytes=124, compression=3),
    }


def _drawing(mode: str) -> Image.Image:
    """Return a picture that is smooth, has an edge, and is not square."""
    bands = [
        Image.linear_gradient("L").rotate(90 * index).resize((48, 32)) for index in range(len(mode))
    ]
    drawing = Image.merge(mode, bands)
    drawing.paste((200, 30, 90, 255)[: len(mode)], (8, 6, 30, 20))
    return drawing


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, kind, **options)  # JPEG leaves its settings on what it saved
    return file.getvalue()
