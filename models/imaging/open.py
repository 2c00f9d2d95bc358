"""Picture files before decoding: supported formats and the checks on a file's header."""

import struct
from typing import Final

from PIL import (  # importing a plugin registers it; Image.open() would load all forty
    AvifImagePlugin,
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
from models.imaging.bounded_reader import (
    BoundedReader,
    check_scans,
    check_tiff_parts,
    has_one_scan,
    tiff_entries,
)
from models.imaging.formats import (
    known_format,
    uninstalled_sentence,
    unsupported_jpeg_kind,
    unsupported_sentence,
)
from models.imaging.heif import heic
from models.imaging.heif.check import check_items
from models.imaging.limits import DECODE_S, MAX_PIXELS
from models.imaging.metadata import strip_jpeg_metadata, strip_png_metadata, strip_webp_metadata

PLUGINS: Final = {
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "WEBP": WebPImagePlugin,
    "BMP": BmpImagePlugin,
    "GIF": GifImagePlugin,
    "TIFF": TiffImagePlugin,
    "AVIF": AvifImagePlugin,
    "HEIC": heic,
}
"""Reader of each supported format; that of JPEG opens MPO, too."""

FORMATS: Final = tuple(PLUGINS)
"""Pillow's names of the supported formats, and "HEIC"."""

UNINSTALLED: Final = tuple(
    format
    for format, is_installed in (("HEIC", heic.IS_INSTALLED), ("AVIF", AvifImagePlugin.SUPPORTED))
    if not is_installed
)
"""Formats whose library is missing on this machine."""

JPEG_FORMATS: Final = ("JPEG", "MPO")

LazyImage = Image.Image
"""Pillow's picture of which only the header has been read."""

WHITE_IS_ZERO: Final = "white_is_zero"
"""Key of `info`: a white-is-zero TIFF was opened as black-is-zero, and the decoder inverts it."""

CODED_PIXELS: Final = "coded_pixels"
"""Key of `info`: pixels by which the memory for HEIC and AVIF is estimated, tiles included."""

# TIFF 6.0: BitsPerSample, PhotometricInterpretation; its value for black on white.
_BITS_TAG: Final = 258
_PHOTOMETRIC_TAG: Final = 262
_BLACK_IS_ZERO: Final = 1
_SEPARATE_PLANES: Final = 2  # PlanarConfiguration
_TILE_TAGS: Final = (322, 323)  # TIFF 6.0: TileWidth, TileLength


def open_image(
    data: bytes | bytearray,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int | None = None,
    decode_s: float = DECODE_S,
) -> LazyImage:
    """Read and check a picture's header, without decoding a pixel.

    Args:
        data: One encoded file.
        max_pixels: Refuse more than this many pixels (width x height), by the header.
        max_bytes: Refuse larger files.
        decode_s: Max processor seconds for opening and decoding, on the same thread. The clock is
            checked after at most 64 kB of the file, or one call into the library of WebP or TIFF.

    Raises:
        EmptyPicture: `data` has no bytes.
        FileTooLarge: The file has more than `max_bytes`.
        UnsupportedFormat: `data` is not a picture of a format in `FORMATS`.
        ImageTooLarge: The header announces more than `max_pixels`.
        ImageTooCostly: The file could keep a decoder busy beyond the limits.
        UndecodableImage: The header is broken, or the file uses an unsupported variant of its
            format.
    """
    if not data:
        raise EmptyPicture("The file is empty.")
    if max_bytes is not None and len(data) > max_bytes:
        raise FileTooLarge(f"The file is larger than the {max_bytes:,} bytes allowed.")
    data = bytes(data)
    format = _format_of(data)
    if format in _BOX_FORMATS:
        return _open_boxes(data, format, max_pixels=max_pixels, decode_s=decode_s)
    check_tiff_parts(data)
    if format == "PNG":
        data = strip_png_metadata(data)
    positive = _positive(data) if format == "TIFF" else None
    reader = BoundedReader(positive or data, decode_s)
    try:
        image = _identify(reader, format, max_pixels)
    except UndecodableImage:
        if format not in _STRIPPERS:
            raise
        reader = reader.replaced(_STRIPPERS[format](data))
        image = _identify(reader, format, max_pixels)
    if positive:
        image.info[WHITE_IS_ZERO] = True
    if _has_deep_planes(image):
        raise UndecodableImage(
            "An uncompressed TIFF with one plane per colour of more than 8 bits is not read here: "
            "save it with pixels in one plane, or compressed."
        )
    reader.finish_header()
    for width, height in (image.size, tile_size(image)):
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"{width} x {height} pixels are more than the {max_pixels:,} allowed."
            )
    if image.format in JPEG_FORMATS and not decodes_by_line(image):
        check_scans(data)
    return image


def _format_of(data: bytes) -> str:
    """Return the format of a file by its signature.

    Raises:
        UnsupportedFormat: It has none that can be read here.
    """
    format = known_format(data)
    if format is None:
        raise UnsupportedFormat(unsupported_sentence(data))
    if format in UNINSTALLED:
        raise UnsupportedFormat(uninstalled_sentence(format))
    return format


def _open_boxes(data: bytes, format: str, *, max_pixels: int, decode_s: float) -> LazyImage:
    """Open a HEIC or AVIF file whose work is bounded.

    Raises:
        ImageTooLarge, ImageTooCostly, UndecodableImage: As `open_image`.
    """
    checked = check_items(data, format, max_pixels=max_pixels)
    if format == "AVIF":
        # Of an animation, too, the picture in the list of items is read, which has been checked.
        data = data[:8] + b"avif" + data[12:]
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the service runs one thread per core
    reader = BoundedReader(data, decode_s)
    image = _identify(reader, format, max_pixels)
    reader.finish_header()
    if image.width * image.height > max_pixels:
        raise ImageTooLarge(
            f"{image.width} x {image.height} pixels are more than the {max_pixels:,} allowed."
        )
    image.info.pop("xmp", None)  # orientation stands in the file's own properties only
    image.info[CODED_PIXELS] = checked.held_pixels
    if checked.profile is not None:
        image.info.setdefault("icc_profile", checked.profile)  # an embedded one goes before
    return image


def undecodable(data: bytes, format: str, error: Exception) -> UndecodableImage:
    """Return the error for a file of a known format that a library cannot read."""
    if format in JPEG_FORMATS and (kind := unsupported_jpeg_kind(data)) is not None:
        return UndecodableImage(
            f"{kind} is not read here: send a baseline or progressive JPEG of 8 bits per sample."
        )
    return UndecodableImage(f"The {format} picture is broken or cut short ({reason_of(error)}).")


def tile_size(image: LazyImage) -> tuple[int, int]:
    """Return width and height of a TIFF's tiles, which are decoded one by one; else (0, 0)."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0, 0
    width, height = (image.tag_v2.get(tag, 0) for tag in _TILE_TAGS)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def _has_deep_planes(image: LazyImage) -> bool:
    """Return True for a TIFF whose planes Pillow reads as if they had 8 bits."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or len(image.tile) < 2:
        return False
    planar = image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION)
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    return planar == _SEPARATE_PLANES and max(bits) > 8 and not image.use_load_libtiff


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
    # Pillow wraps a plugin's error into a SyntaxError; for pixels cut short it has its own message.
    cause = error.__cause__ if isinstance(error, SyntaxError) else error
    if isinstance(cause, struct.error):
        return "its header ends too early"
    text = " ".join(str(error).split())
    return type(error).__name__ if not text or " at 0x" in text else text[:120]


def _identify(reader: BoundedReader, format: str, max_pixels: int) -> LazyImage:
    """Read the header of a file of a known format.

    Raises:
        ImageTooLarge, ImageTooCostly, UndecodableImage: As `open_image`.
    """
    try:
        try:
            return Image.open(reader, formats=(format,))
        except UnidentifiedImageError:
            # Only the plugin itself gives the reason.
            reader.seek(0)
            factory, _ = Image.OPEN[format]
            return factory(reader, "")
    except ImageTooCostly:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(
            f"The header announces more pixels than the {max_pixels:,} allowed."
        ) from error
    except Exception as error:  # plugins raise anything on broken input
        raise undecodable(reader.getvalue(), format, error) from error


_BOX_FORMATS: Final = ("HEIC", "AVIF")

# Pillow reads metadata together with the header; if that fails, the header is read without.
_STRIPPERS: Final = {"JPEG": strip_jpeg_metadata, "WEBP": strip_webp_metadata}


def _positive(data: bytes) -> bytes | None:
    """Return a deep white-is-zero TIFF with its tag rewritten to black-is-zero; None for others.

    Of more than 8 bits, Pillow reads such a picture as a negative, or not at all.
    """
    found = {entry.tag: entry for entry in tiff_entries(data)}
    meaning, bits = found.get(_PHOTOMETRIC_TAG), found.get(_BITS_TAG)
    if meaning is None or bits is None or meaning.value != 0 or bits.values != 1 or bits.value <= 8:
        return None
    changed = bytearray(data)
    order = "<" if data[:2] == b"II" else ">"
    struct.pack_into(order + "H", changed, meaning.offset, _BLACK_IS_ZERO)
    return bytes(changed)
