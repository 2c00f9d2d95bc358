"""Encoded picture to model input: the only preprocessing outside the graph.

    bytes -> uint8 (3, S, S) -> stacked uint8 (N, 3, S, S) -> graph -> float32 (N, K)

Training, evaluation and the service all call `decode_image`, so that they get the same pixels.
If it changes, `DECODER` must change, too: the name is part of every cached feature's key and of
every manifest.
"""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageOps, TiffImagePlugin

from models.errors import ImageTooCostly
from models.imaging.bounded_reader import BoundedReader
from models.imaging.colour import to_srgb
from models.imaging.jpeg_end import append_end_marker, has_end_marker
from models.imaging.limits import DECODE_S, MAX_PIXELS
from models.imaging.memory import edges_at
from models.imaging.open import JPEG_FORMATS, WHITE_IS_ZERO, LazyImage, open_image, undecodable

if TYPE_CHECKING:  # imported where a tensor is made: thumbnails need no PyTorch
    from torch import Tensor

DECODER: Final = "pillow-draft-squash-bilinear-2"
"""Name of this module's conversion from bytes to pixels.

-1 had other pixels for pictures with a colour profile other than sRGB, for 32-bit BMP and TIFF
whose alpha is zero everywhere, for 12-bit and for deep white-is-zero TIFF, and for PNG whose
orientation stands behind the pixels; for all others the same, to the bit.
"""

# EXIF 2.32, tag Orientation: the operation that makes the stored picture upright.
_TRANSPOSES: Final = {
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
_JPEG_QUALITY: Final = 85
_TURNED_BY_READER: Final = ("TIFF", "HEIC")


def decode_image(
    data: bytes, *, size: int, max_pixels: int = MAX_PIXELS, decode_s: float = DECODE_S
) -> "Tensor":
    """Decode one picture, upright and in RGB, and fit it to a square.

    The whole picture is squeezed into the square, regardless of its aspect ratio: nothing is cut
    off or padded. Of animations and multi-page files the first picture is decoded.

    Args:
        data: One encoded JPEG, MPO, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF file.
        size: Edge S of the result, in pixels.
        max_pixels: Refuse more than this many pixels (width x height), by the header,
            before any pixel is decoded.
        decode_s: Max processor seconds.

    Returns:
        uint8 tensor of shape (3, S, S): RGB planes, 0..255, contiguous.

    Raises:
        EmptyPicture, UnsupportedFormat, ImageTooLarge, ImageTooCostly: As `open_image`.
        UndecodableImage: The picture is broken or cut short.
    """
    image = open_image(data, max_pixels=max_pixels, decode_s=decode_s)
    pixels, _ = decode_opened(image, size=size)
    return pixels


def decode_opened(image: LazyImage, *, size: int) -> tuple["Tensor", tuple[int, int]]:
    """Decode a picture whose header has been read; the second half of `decode_image`.

    Args:
        image: Picture from `open_image`.
        size: Edge S of the result, in pixels.

    Returns:
        As `decode_image`; and width and height of the upright picture, in pixels.

    Raises:
        ImageTooCostly: Decoding takes longer than the `decode_s` of `open_image`.
        UndecodableImage: The picture is broken or cut short.
    """
    stored_size = image.size
    with _decode_errors(image):
        loaded, orientation = _load(image, (size, size))
        # The resize is antialiased; for a much larger picture it first averages whole blocks.
        square = _interpolable(loaded).resize(
            (size, size), Image.Resampling.BILINEAR, reducing_gap=3.0
        )
        # Cheapest order: turn and convert the small square, not the whole picture.
        square = to_srgb(square, loaded.info.get("icc_profile"))
        square = _to_rgb(apply_orientation(square, orientation))
    return _tensor(square), _upright(stored_size, orientation)


class OrientedImage:
    """A picture decoded once, upright and in RGB, to cut parts from.

    Attributes:
        width: Width of the upright original, in pixels, even if it was decoded smaller.
        height: Height, likewise.
    """

    def __init__(self, image: LazyImage, *, longest_px: int) -> None:
        """Decode a picture.

        Args:
            image: Picture from `open_image`.
            longest_px: A picture whose longer side has at least twice as many pixels is reduced
                to a half, a third, ... of its size, but never below this. A JPEG is decoded at
                1/2, 1/4 or 1/8.

        Raises:
            ImageTooCostly, UndecodableImage: As `decode_opened`.
        """
        stored_size = image.size
        with _decode_errors(image):
            loaded, orientation = _load(image, edges_at(image, longest_px))
            part = _interpolable(loaded)
            if (factor := max(part.size) // longest_px) > 1:
                part = part.reduce(factor)
            part = to_srgb(part, loaded.info.get("icc_profile"))
            self._rgb = _to_rgb(apply_orientation(part, orientation))
        self.width, self.height = _upright(stored_size, orientation)

    def thumbnail(self, longest_px: int, *, enlarge: float = 1.0) -> tuple[int, int, bytes]:
        """Return width, height and RGB bytes, row by row, of a copy of at most `longest_px`.

        Args:
            longest_px: Max pixels of the longer side.
            enlarge: Max factor by which a smaller picture is enlarged.
        """
        scale = min(enlarge, longest_px / max(self._rgb.size))
        size = (max(1, round(self._rgb.width * scale)), max(1, round(self._rgb.height * scale)))
        small = self._rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        return *size, small.tobytes()

    def jpeg(self, longest_px: int) -> bytes:
        """Return a copy of at most `longest_px` as a JPEG file, without any metadata."""
        width, height, pixels = self.thumbnail(longest_px)
        data = BytesIO()
        Image.frombytes("RGB", (width, height), pixels).save(data, "JPEG", quality=_JPEG_QUALITY)
        return data.getvalue()

    def grey(self, width: int, height: int) -> bytes:
        """Return the luma of a copy that is squeezed to a size, row by row."""
        size = (width, height)
        return self._rgb.convert("L").resize(size, Image.Resampling.LANCZOS).tobytes()

    def luma_histogram(self) -> list[int]:
        """Return the number of pixels at each luma, 0..255, of the decoded copy."""
        return self._rgb.convert("L").histogram()

    def cut(self, box: tuple[int, int, int, int], size: int) -> "Tensor":
        """Squeeze a part into a square.

        Args:
            box: Left, top, right, bottom, in pixels of the upright original, inside it.
            size: Edge S of the result, in pixels.

        Returns:
            As `decode_image`.
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


def exif_orientation(image: LazyImage) -> int:
    """Return a picture's EXIF orientation, 1 (upright) if it has none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001  broken metadata does not spoil the pixels
        return 1


def upright_size(image: LazyImage) -> tuple[int, int]:
    """Return width and height that a picture has once it is upright, in pixels, by its header."""
    turned = image.format in _TURNED_BY_READER
    return _upright(image.size, 1 if turned else exif_orientation(image))


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    width, height = size
    return (height, width) if orientation in _SIDEWAYS else size


def apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Turn or mirror a picture upright from its EXIF orientation (1 to 8)."""
    method = _TRANSPOSES.get(orientation)
    return image if method is None else image.transpose(method)


def _load(image: LazyImage, min_size: tuple[int, int]) -> tuple[Image.Image, int]:
    """Decode at no less than a size; return the picture and the EXIF orientation left to apply."""
    orientation = 1 if image.format in _TURNED_BY_READER else exif_orientation(image)
    if not has_end_marker(image):
        image = append_end_marker(image)
    if image.format in JPEG_FORMATS:
        # libjpeg then decodes at 1/2, 1/4 or 1/8, never below the min size: a 12 MP
        # photograph costs a fraction of a full decode.
        image.draft(None, min_size)
    image.load()
    return image, orientation


def _interpolable(image: Image.Image) -> Image.Image:
    """Convert a decoded picture to a mode whose values can be averaged."""
    image = _opaque(_eight_bit(image))
    if image.mode not in ("L", "RGB", "RGBA", "CMYK"):  # palettes cannot be interpolated
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode != "RGBA" and image.has_transparency_data:  # a colour key
        return image.convert("RGBA")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale more than 8 bits per channel to 8; Pillow's own conversion would clip."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow calls some of it 32-bit
        scale = 255 / 4095 if _is_12_bit(image) else 1 / 257
        grey = image.convert("I").point(lambda value: value * scale).convert("L")
    elif image.mode == "F":
        _, high = image.getextrema()
        scale = 255.0 if isinstance(high, float) and high <= 1.0 else 1.0
        grey = image.point(lambda value: value * scale).convert("L")
    else:
        return image
    return ImageOps.invert(grey) if WHITE_IS_ZERO in image.info else grey


def _is_12_bit(image: Image.Image) -> bool:
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(
        TiffImagePlugin.BITSPERSAMPLE
    ) == (12,)


def _opaque(image: Image.Image) -> Image.Image:
    """Drop an alpha channel that was left unset: zero everywhere, over colours.

    Windows leaves the fourth byte of a BMP's pixels at zero, and some programs that of a TIFF's.
    """
    if image.mode != "RGBA" or image.format not in ("BMP", "TIFF"):
        return image
    if image.getchannel("A").getbbox() is not None:
        return image
    solid = image.convert("RGB")
    return image if image.format == "TIFF" and solid.getbbox() is None else solid


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB as a viewer shows it: transparent parts over white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _tensor(square: Image.Image) -> "Tensor":
    import torch

    pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return pixels.view(*square.size, 3).permute(2, 0, 1).contiguous()  # (S, S, 3) -> (3, S, S)


@contextlib.contextmanager
def _decode_errors(image: LazyImage) -> Iterator[None]:
    """Raise `UndecodableImage` for any error of a decoder but `ImageTooCostly`."""
    reader = getattr(image, "fp", None)
    file = reader.getvalue() if isinstance(reader, BoundedReader) else b""
    try:
        yield
    except ImageTooCostly:
        raise
    except Exception as error:  # decoders of nine formats raise anything on broken input
        raise undecodable(file, str(image.format), error) from error
