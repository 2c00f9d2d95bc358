"""Valid small images of every supported format, and of some that must be refused."""

import functools
import io
from typing import Any, Final

from PIL import Image

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
    }
    for name, kind in _NOT_READ.items():
        found[f"{name.lower()}, not read"] = _saved(rgb.resize((32, 32)), kind)
    return found


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
