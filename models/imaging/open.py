"""Picture files before decoding: supported formats and the checks on a file's header."""

import math
from typing import Final

from PIL import (  # importing a plugin registers it; Image.open() would load all forty
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from models.errors import (
    EmptyPicture,
    FileTooLarge,
    ImageTooCostly,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedFormat,
)
from models.imaging.bounded_reader import BoundedReader, check_scans, check_tiff_parts, has_one_scan
from models.imaging.limits import MAX_PIXELS

PLUGINS: Final = {
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "WEBP": WebPImagePlugin,
    "BMP": BmpImagePlugin,
    "GIF": GifImagePlugin,
    "TIFF": TiffImagePlugin,
}
"""Pillow's reader of each supported format; that of JPEG opens MPO, too."""

FORMATS: Final = tuple(PLUGINS)
"""Pillow's names of the supported formats."""

JPEG_FORMATS: Final = ("JPEG", "MPO")

LazyImage = Image.Image
"""Pillow's picture of which only the header has been read."""

# ISO/IEC 23008-12, major brands of still pictures and sequences coded by HEVC.
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_TILE_TAGS: Final = (322, 323)  # TIFF 6.0: TileWidth, TileLength


def open_image(
    data: bytes | bytearray,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int | None = None,
    decode_s: float = math.inf,
) -> LazyImage:
    """Read and check a picture's header, without decoding a pixel.

    Args:
        data: One encoded file.
        max_pixels: Refuse more than this many pixels (width x height), judged from the header.
        max_bytes: Refuse larger files.
        decode_s: Max processor seconds for this and for decoding, on the same thread. Between
            two checks of the clock lie at most 64 kB of the file, or one call into the library
            of WebP or TIFF.

    Raises:
        EmptyPicture: `data` has no bytes.
        FileTooLarge: The file has more than `max_bytes`.
        UnsupportedFormat: `data` is not a picture of a format in `FORMATS`.
        ImageTooLarge: The header announces more than `max_pixels`.
        ImageTooCostly: The picture is made to keep a decoder busy.
        UndecodableImage: The header is broken.
    """
    if not data:
        raise EmptyPicture("The file is empty.")
    if max_bytes is not None and len(data) > max_bytes:
        raise FileTooLarge(f"The file is larger than the {max_bytes:,} bytes allowed.")
    data = bytes(data)
    check_tiff_parts(data)
    reader = BoundedReader(data, decode_s)
    try:
        image = Image.open(reader, formats=FORMATS)
    except ImageTooCostly:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(
            f"The header announces more pixels than the {max_pixels:,} allowed."
        ) from error
    except UnidentifiedImageError as error:
        raise UnsupportedFormat(_unsupported_sentence(data)) from error
    except Exception as error:  # a header that a plugin recognised and then choked on
        raise UndecodableImage(f"The picture's header is broken ({reason_of(error)}).") from error
    reader.finish_header()
    for width, height in (image.size, tile_size(image)):
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"{width} x {height} pixels are more than the {max_pixels:,} allowed."
            )
    if image.format in JPEG_FORMATS and not decodes_by_line(image):
        check_scans(data)
    return image


def tile_size(image: LazyImage) -> tuple[int, int]:
    """Return width and height of a TIFF's tiles, which are decoded one by one; else (0, 0)."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0, 0
    width, height = (image.tag_v2.get(tag, 0) for tag in _TILE_TAGS)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def decodes_by_line(image: LazyImage) -> bool:
    """Return True for a JPEG whose only scan has all components, decoded line by line."""
    return (
        isinstance(image, JpegImagePlugin.JpegImageFile)
        and isinstance(image.fp, BoundedReader)
        and "progressive" not in image.info
        and has_one_scan(image.fp.getvalue(), image.fp.tell(), image.layers)
    )


def reason_of(error: Exception) -> str:
    """Return a library's message as one short line, safe to show: no address, no path."""
    text = " ".join(str(error).split())
    return type(error).__name__ if not text or " at 0x" in text else text[:120]


def _unsupported_sentence(data: bytes) -> str:
    """Return the error sentence for an unknown file; for HEIC it says how to get JPEG."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return (
            "HEIC pictures, as iPhones take them, are not read here: send the picture as JPEG. "
            "To have the phone take JPEG, choose Settings, Camera, Formats, Most Compatible."
        )
    return "Not a picture that is read here: send JPEG, PNG, WebP, BMP, GIF or TIFF."
