"""First examination of an uploaded file: format, size, thumbnail, oddities."""

import hashlib
from dataclasses import dataclass
from typing import Final

from models.errors import PictureError
from models.imaging.decode import OrientedImage
from models.imaging.limits import DECODE_S, MAX_FILE_BYTES, MAX_PIXELS
from models.imaging.open import open_image
from studio.pictures.blobs import THUMBNAIL_EDGES_PX
from studio.pictures.near_copies import EDGE, difference_hash

# As in `training.audit.quality`, whose audit looks closer: a test compares them.
MIN_EDGE_PX: Final = 64
MAX_ASPECT: Final = 3.0
MAX_BRIGHTNESS_OF_DARK: Final = 0.1
MAX_LIGHTEST_OF_DARK: Final = 0.5

_LIGHTEST_SHARE: Final = 0.99


@dataclass(frozen=True)
class Limits:
    """Limits of one file; the defaults are the service's."""

    max_file_bytes: int = MAX_FILE_BYTES
    max_pixels: int = MAX_PIXELS
    decode_s: float = DECODE_S


@dataclass(frozen=True)
class Examined:
    """An uploaded file.

    Attributes:
        sha256: Digest of its bytes.
        data: Its bytes.
        width: Width in pixels, upright; 0 if it is not a picture.
        height: Height, likewise.
        format: Pillow's name of the format.
        thumbnail: The small thumbnail, as JPEG.
        oddities: Kind and message of each finding.
        dhash: Difference hash, None if the picture shows too little.
        fault: The reason why it is refused, None for a picture.
    """

    sha256: str
    data: bytes
    width: int = 0
    height: int = 0
    format: str = ""
    thumbnail: bytes = b""
    oddities: tuple[tuple[str, str], ...] = ()
    dhash: str | None = None
    fault: PictureError | None = None


def examine(data: bytes, limits: Limits) -> Examined:
    """Decode a file at a reduced size, within the limits, and make its thumbnail.

    A JPEG is decoded at down to 1/8 of its size, which reads the whole file and so detects a
    truncated one.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        opened = open_image(
            data,
            max_pixels=limits.max_pixels,
            max_bytes=limits.max_file_bytes,
            decode_s=limits.decode_s,
        )
        format = str(opened.format)
        image = OrientedImage(opened, longest_px=THUMBNAIL_EDGES_PX[0])
        thumbnail = image.jpeg(THUMBNAIL_EDGES_PX[0])
    except PictureError as error:
        return Examined(sha256, data, fault=error)
    return Examined(
        sha256,
        data,
        image.width,
        image.height,
        format,
        thumbnail,
        tuple(_oddities(image.width, image.height, image.luma_histogram())),
        difference_hash(image.grey(EDGE + 1, EDGE)),
    )


def _oddities(width: int, height: int, luma: list[int]) -> list[tuple[str, str]]:
    """Return kind and message of each oddity of a picture."""
    found = []
    shorter, longer = sorted((width, height))
    if shorter < MIN_EDGE_PX:
        found.append(("tiny", f"{width} x {height} pixels: less than {MIN_EDGE_PX} wide or high."))
    if longer > MAX_ASPECT * shorter:
        found.append(
            ("odd_shape", f"{width} x {height} pixels: over {MAX_ASPECT:g} times as long as wide.")
        )
    total = sum(luma)
    brightness = sum(level * number for level, number in enumerate(luma)) / total / 255
    below, lightest = 0, 0
    while below + luma[lightest] < _LIGHTEST_SHARE * total:
        below += luma[lightest]
        lightest += 1
    if brightness < MAX_BRIGHTNESS_OF_DARK and lightest / 255 < MAX_LIGHTEST_OF_DARK:
        found.append(("dark", f"Very dark: mean brightness {brightness:.0%}."))
    return found
