"""Encoded picture to model input: the only preprocessing outside the graph.

    bytes -> uint8 (3, S, S) -> stacked uint8 (N, 3, S, S) -> graph -> float32 (N, K)

Training, evaluation and the service all call `decode_image`, so that none of them can
see a picture differently from the others. Change it, and `DECODER` must change with it:
that name is part of every cached feature's key and of every manifest.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Final

import torch
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
from torch import Tensor

from models.errors import (
    EmptyPicture,
    FileTooLarge,
    ImageTooCostly,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedFormat,
)
from models.imaging.bounded_reader import Reader, check_pieces, check_scans, has_one_scan
from models.imaging.limits import (
    BYTES_A_PIXEL,
    DECODED_BYTES_A_PIXEL,
    MAX_PIXELS,
    TURNING_BYTES_A_PIXEL,
)

DECODER: Final = "pillow-draft-squash-bilinear-1"
"""Name of the way from bytes to pixels that this module implements."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Pillow's names of the formats that are read (its JPEG reader opens MPO, too)."""

PLUGINS: Final = (
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    TiffImagePlugin,
)
"""The readers of `FORMATS`, in that order."""

Opened = Image.Image
"""What `open_image` gives: Pillow's lazy picture."""

# ISO/IEC 23008-12, major brands of still pictures and sequences coded by HEVC.
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# EXIF 2.32, tag Orientation: what to do with the stored picture to see it upright.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG: Final = 0x0112
_SIDEWAYS: Final = (5, 6, 7, 8)

_JPEGS: Final = ("JPEG", "MPO")
_TILE_TAGS: Final = (322, 323)  # TIFF 6.0: TileWidth, TileLength


def decode_image(data: bytes, *, size: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode one picture, upright and in RGB, and fit it to a square.

    The whole picture is squeezed into the square, whatever its aspect: nothing is cut
    off and nothing is padded. Of animations and multi-page files the first picture counts.

    Args:
        data: One encoded JPEG, MPO, PNG, WebP, BMP, GIF or TIFF file.
        size: Edge S of the result, in pixels.
        max_pixels: Refuse more than this many pixels (width x height), judged from
            the header, before any pixel is decoded.

    Returns:
        uint8 tensor of shape (3, S, S): RGB planes, 0..255, contiguous.

    Raises:
        EmptyPicture: `data` has no bytes.
        UnsupportedFormat: `data` is no picture of a format in `FORMATS`.
        ImageTooLarge: The header announces more than `max_pixels`.
        ImageTooCostly: The picture is made so as to keep a decoder busy.
        UndecodableImage: The picture is broken or cut short.
    """
    return decode_opened(open_image(data, max_pixels=max_pixels), size=size)


def decode_opened(image: Image.Image, *, size: int) -> Tensor:
    """The second half of `decode_image`, for who wants to look at the header between the two.

    Args:
        image: As `open_image` gives it.
        size: As for `decode_image`.

    Returns:
        As `decode_image` does.

    Raises:
        ImageTooCostly: It takes longer than `open_image` was told.
        UndecodableImage: The picture is broken or cut short.
    """
    with _broken_is_said(image):
        square = _square(image, size)
    return _tensor(square)


class Upright:
    """One picture decoded once, upright and in RGB, of which parts can be taken.

    Attributes:
        width: Of the upright original, in pixels, however small it was decoded.
        height: As width.
    """

    def __init__(self, image: Image.Image, *, longest_px: int) -> None:
        """Decode.

        Args:
            image: As `open_image` gives it.
            longest_px: A picture whose longer side has at least twice as many pixels is brought
                to a half, a third, ... of its size, so that it keeps as many. A JPEG is decoded
                at 1/2, 1/4 or 1/8.

        Raises:
            ImageTooCostly: It takes longer than `open_image` was told.
            UndecodableImage: The picture is broken or cut short.
        """
        width, height = image.size
        with _broken_is_said(image):
            orientation = _load(image, _edges(image, longest_px))
            part = _interpolable(image)
            if (factor := max(part.size) // longest_px) > 1:
                part = part.reduce(factor)
            self._rgb = to_rgb(upright(part, orientation))
        turned = orientation in _SIDEWAYS
        self.width, self.height = (height, width) if turned else (width, height)

    def shrunk(self, longest_px: int) -> tuple[int, int, bytes]:
        """Width, height and RGB bytes, row by row, with at most so many pixels a side."""
        share = min(1.0, longest_px / max(self._rgb.size))
        size = (max(1, round(self._rgb.width * share)), max(1, round(self._rgb.height * share)))
        small = self._rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        return *size, small.tobytes()

    def cut(self, box: tuple[int, int, int, int], size: int) -> Tensor:
        """Squeeze a part into a square.

        Args:
            box: Left, top, right, bottom, in pixels of the upright original, inside it.
            size: Edge S of the result, in pixels.

        Returns:
            As `decode_image` does.
        """
        across, down = self._rgb.width / self.width, self._rgb.height / self.height
        left, top, right, bottom = box
        return _tensor(
            self._rgb.resize(
                (size, size),
                Image.Resampling.BILINEAR,
                box=(left * across, top * down, right * across, bottom * down),
                reducing_gap=3.0,
            )
        )


def open_image(
    data: bytes | bytearray,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int | None = None,
    decode_s: float = math.inf,
) -> Image.Image:
    """Read a picture's header and judge it; no pixel is decoded yet.

    Args:
        data: One encoded file.
        max_pixels: As for `decode_image`.
        max_bytes: Refuse files of more.
        decode_s: Most processor seconds for this and for decoding, on the same thread. Between
            two looks at the clock lie 64 kB of the file at the most, or one call into the
            library of WebP or TIFF.

    Returns:
        Pillow's lazy picture.

    Raises:
        FileTooLarge: The file has more than `max_bytes`.
        EmptyPicture, UnsupportedFormat, ImageTooLarge, ImageTooCostly, UndecodableImage: As for
            `decode_image`.
    """
    if not data:
        raise EmptyPicture("The file is empty.")
    if max_bytes is not None and len(data) > max_bytes:
        raise FileTooLarge(f"The file is larger than the {max_bytes:,} bytes allowed.")
    data = bytes(data)
    check_pieces(data)
    reader = Reader(data, decode_s)
    try:
        image = Image.open(reader, formats=FORMATS)
    except ImageTooCostly:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(
            f"The header announces more pixels than the {max_pixels:,} allowed."
        ) from error
    except UnidentifiedImageError as error:
        raise UnsupportedFormat(_why_unsupported(data)) from error
    except Exception as error:  # a header that a plugin recognised and then choked on
        raise UndecodableImage(f"The picture's header is broken ({_reason(error)}).") from error
    reader.header_is_read()
    for width, height in (image.size, _tile(image)):
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"{width} x {height} pixels are more than the {max_pixels:,} allowed."
            )
    if image.format in _JPEGS and not _one_scan(image):
        check_scans(data)
    return image


def decoding_bytes(image: Image.Image, size: int) -> int:
    """Most memory that `decode_opened` takes.

    Args:
        image: As `open_image` gives it.
        size: As for `decode_image`.
    """
    pixels, coefficients = _decoded(image, (size, size))
    return BYTES_A_PIXEL * pixels + coefficients


def upright_bytes(image: Image.Image, longest_px: int) -> int:
    """Most memory that making an `Upright` takes.

    Args:
        image: As `open_image` gives it.
        longest_px: As for `Upright`.
    """
    pixels, coefficients = _decoded(image, _edges(image, longest_px))
    # Of a JPEG the decoder has left out what it could.
    factor = 1 if image.format in _JPEGS else max(1, max(image.size) // longest_px)
    turning = DECODED_BYTES_A_PIXEL * pixels + TURNING_BYTES_A_PIXEL * pixels // factor**2
    return max(BYTES_A_PIXEL * pixels + coefficients, turning)


def _edges(image: Image.Image, longest_px: int) -> tuple[int, int]:
    """Width and height that a picture has with so many pixels on the longer side."""
    width, height = image.size
    share = longest_px / max(width, height)
    return max(1, round(width * share)), max(1, round(height * share))


def _decoded(image: Image.Image, wanted: tuple[int, int]) -> tuple[int, int]:
    """Pixels that a decoder gives where so many are wanted, and bytes that it needs besides."""
    width, height = image.size
    coefficients = 0
    if image.format in _JPEGS:
        if not _one_scan(image):  # all of them are there before the first pixel is
            coefficients = width * height * 2 * len(image.getbands())
        scale = next(
            (s for s in (8, 4, 2) if width >= s * wanted[0] and height >= s * wanted[1]), 1
        )
        width, height = -(-width // scale), -(-height // scale)
    return max(width * height, math.prod(_tile(image))), coefficients


def _one_scan(image: Image.Image) -> bool:
    """Whether a JPEG, of which only the header has been read, is decoded line by line."""
    return (
        isinstance(image, JpegImagePlugin.JpegImageFile)
        and isinstance(image.fp, Reader)
        and "progressive" not in image.info
        and has_one_scan(image.fp.getvalue(), image.fp.tell(), image.layers)
    )


def _tile(image: Image.Image) -> tuple[int, int]:
    """Width and height of a TIFF's tiles, of which one is decoded at a time; (0, 0) without."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0, 0
    width, height = (image.tag_v2.get(tag, 0) for tag in _TILE_TAGS)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn or mirror a picture as its EXIF orientation (1 to 8) asks."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation of a picture, 1 (upright) where it has none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001  broken metadata is no reason to refuse good pixels
        return 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Show any mode as a viewer would: in RGB, see-through parts over white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    """Decode, shrink to (size, size), turn upright and convert to RGB, cheapest order first."""
    orientation = _load(image, (size, size))
    # The resize is antialiased; for a much larger picture it first averages whole blocks.
    image = _interpolable(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return to_rgb(upright(image, orientation))


def _load(image: Image.Image, wanted: tuple[int, int]) -> int:
    """Decode at no less than the size wanted, and say how the picture must still be turned."""
    # Pillow turns a TIFF upright itself, as it loads it.
    orientation = 1 if image.format == "TIFF" else exif_orientation(image)
    if image.format in _JPEGS:
        # libjpeg then decodes at 1/2, 1/4 or 1/8, never below the size wanted: a 12 MP
        # photograph costs a fraction of a full decode.
        image.draft(None, wanted)
    image.load()
    return orientation


def _interpolable(image: Image.Image) -> Image.Image:
    """Bring a decoded picture to a mode whose values mean amounts of light."""
    image = _eight_bit(image)
    if image.mode not in ("L", "RGB", "RGBA", "CMYK"):  # palettes cannot be interpolated
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode != "RGBA" and image.has_transparency_data:  # a colour key
        return image.convert("RGBA")
    return image


def _tensor(square: Image.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return pixels.view(*square.size, 3).permute(2, 0, 1).contiguous()  # (S, S, 3) -> (3, S, S)


@contextlib.contextmanager
def _broken_is_said(image: Image.Image) -> Iterator[None]:
    """Turn whatever a decoder raises into the one error for it."""
    try:
        yield
    except ImageTooCostly:
        raise
    except Exception as error:  # decoders of seven formats raise anything on broken input
        raise UndecodableImage(
            f"The {image.format} picture is broken or cut short ({_reason(error)})."
        ) from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring pictures of more than 8 bits a channel to 8; Pillow's own conversion would clip."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow calls some of it 32-bit
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode == "F":
        _, high = image.getextrema()
        scale = 255.0 if isinstance(high, float) and high <= 1.0 else 1.0
        return image.point(lambda value: value * scale).convert("L")
    return image


def _why_unsupported(data: bytes | bytearray) -> str:
    """The sentence for a file that no reader knows, with the way out where there is one."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return (
            "HEIC pictures, as iPhones take them, are not read here: send the picture as JPEG. "
            "To have the phone take JPEG, choose Settings, Camera, Formats, Most Compatible."
        )
    return "Not a picture that is read here: send JPEG, PNG, WebP, BMP, GIF or TIFF."


def _reason(error: Exception) -> str:
    """A library's message in one short line, safe to show: no address, no path."""
    text = " ".join(str(error).split())
    return type(error).__name__ if not text or " at 0x" in text else text[:120]
