"""Upper bounds on the memory that decoding takes, computed from a picture's header.

    decoding_bytes    bytes -> model input
    searching_bytes   bytes -> `OrientedImage` -> faces

Each formula multiplies the decoder's pixels by the bytes per pixel of the most expensive format.
"""

import math
from typing import Final

from models.imaging.jpeg_end import has_end_marker
from models.imaging.limits import ORIENTED_PX, SEARCH_EDGES_PX
from models.imaging.open import (
    CODED_PIXELS,
    JPEG_FORMATS,
    LazyImage,
    decodes_by_line,
    tile_size,
)

# While decoding: WebP's two canvases, its answer, and Pillow's copy.
_BYTES_PER_PIXEL: Final = 16
# Still held once a picture is decoded: WebP's two canvases, and the picture.
_DECODED_BYTES_PER_PIXEL: Final = 12
# While a decoded picture is made upright and RGB: six copies of it.
_ORIENTING_BYTES_PER_PIXEL: Final = 24
# libjpeg's coefficients: a 16-bit number per sample.
_COEFFICIENT_BYTES: Final = 2

SEARCH_BYTES: Final = 80 * SEARCH_EDGES_PX[-1] ** 2
"""One search for faces: the copies given to the detector and its feature maps."""

FILE_COPIES: Final = 3
"""Copies of an encoded file while it is decoded: ours, and WebP's two."""


def decoding_bytes(image: LazyImage, size: int) -> int:
    """Return the max memory that `decode_opened` takes.

    Args:
        image: Picture from `open_image`.
        size: Edge S of the result, in pixels.
    """
    pixels, coefficients = _decoded(image, (size, size))
    return max(_BYTES_PER_PIXEL * pixels + coefficients, _end_repair_bytes(image))


def searching_bytes(image: LazyImage) -> int:
    """Return the max memory that `orient` and then `find_faces` take."""
    pixels, coefficients = _decoded(image, edges_at(image, ORIENTED_PX))
    # A JPEG is already decoded at a reduced size.
    factor = 1 if image.format in JPEG_FORMATS else max(1, max(image.size) // ORIENTED_PX)
    orienting = _DECODED_BYTES_PER_PIXEL * pixels + _ORIENTING_BYTES_PER_PIXEL * pixels // factor**2
    decoding = max(_BYTES_PER_PIXEL * pixels + coefficients, _end_repair_bytes(image))
    return max(decoding, orienting) + SEARCH_BYTES


def largest_picture_bytes(max_pixels: int) -> int:
    """Return the max memory for one picture of at most `max_pixels`, including face search."""
    # Below 2 x ORIENTED_PX an `OrientedImage` has the full size, from there on half of it; from 3 x
    # on decoding takes more than orienting.
    full = (_DECODED_BYTES_PER_PIXEL + _ORIENTING_BYTES_PER_PIXEL) * max_pixels
    halved = (_DECODED_BYTES_PER_PIXEL + _ORIENTING_BYTES_PER_PIXEL // 4) * (3 * ORIENTED_PX) ** 2
    return max(_BYTES_PER_PIXEL * max_pixels, min(full, halved)) + SEARCH_BYTES


def edges_at(image: LazyImage, longest_px: int) -> tuple[int, int]:
    """Return width and height of a picture scaled to `longest_px` on the longer side."""
    width, height = image.size
    scale = longest_px / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _end_repair_bytes(image: LazyImage) -> int:
    """Return the max memory for the repair of a JPEG without end marker, 0 for other pictures.

    Two copies of its full size are compared, with 4 bytes per pixel, beside the coefficients.
    """
    return 0 if has_end_marker(image) else _BYTES_PER_PIXEL * image.width * image.height


def _decoded(image: LazyImage, min_size: tuple[int, int]) -> tuple[int, int]:
    """Return a decoder's pixels at no less than a size, and the bytes of its own state."""
    width, height = image.size
    coefficients = 0
    if image.format in JPEG_FORMATS:
        if not decodes_by_line(image):  # all coefficients exist before the first pixel
            coefficients = width * height * _COEFFICIENT_BYTES * len(image.getbands())
        scale = next(
            (s for s in (8, 4, 2) if width >= s * min_size[0] and height >= s * min_size[1]), 1
        )
        width, height = -(-width // scale), -(-height // scale)
    held = max(math.prod(tile_size(image)), image.info.get(CODED_PIXELS, 0))
    return max(width * height, held), coefficients
