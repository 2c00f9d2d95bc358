"""Colour profiles (ICC) of pictures, converted to sRGB as a viewer does."""

import hashlib
import io
import itertools
import threading
from collections import OrderedDict
from typing import Final

from PIL import Image, ImageChops, ImageCms

# By mode: the profile's data colour space (ICC.1, table 19), its max bytes, and the mode in sRGB.
# Profiles of screens and cameras have 0.5 to 50 kB, of presses up to some MB.
_BY_MODE: Final = {
    "L": (b"GRAY", 2**20, "RGB"),
    "RGB": (b"RGB ", 2**20, "RGB"),
    "RGBA": (b"RGB ", 2**20, "RGBA"),
    "CMYK": (b"CMYK", 4 * 2**20, "RGB"),
}
_SPACE: Final = slice(16, 20)
_ROUNDING: Final = 2  # of 255; copies of sRGB by different makers differ by less
_MAX_TRANSFORMS: Final = 16  # one for a printing press takes some MB


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Convert a decoded picture from its profile's colours to sRGB.

    Args:
        image: A picture in mode L, RGB, RGBA or CMYK.
        profile: Content of the embedded profile, None without one.

    Returns:
        `image` itself if there is no profile, or it is sRGB, broken, for another mode or too large.
    """
    space, max_bytes, _ = _BY_MODE[image.mode]
    if not isinstance(profile, bytes) or profile[_SPACE] != space or len(profile) > max_bytes:
        return image
    transform = _transforms.of(profile, image.mode)
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    return image if converted is None else converted


class _Transforms:
    """Cache of the transforms used last, by the profile's checksum; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[bytes, str], ImageCms.ImageCmsTransform | None] = (
            OrderedDict()
        )

    def of(self, profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
        """Return the transform from a profile, None if no conversion is needed or possible."""
        key = hashlib.sha256(profile).digest(), mode
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        transform = _build(profile, mode)
        with self._lock:
            self._found[key] = transform
            if len(self._found) > _MAX_TRANSFORMS:
                self._found.popitem(last=False)
        return transform


_transforms: Final = _Transforms()


def _build(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from a profile to sRGB, None for sRGB itself and a broken profile."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            _BY_MODE[mode][2],
            flags=ImageCms.Flags.NOCACHE,  # the cache of the last pixel is shared by threads
        )
        same = mode in ("RGB", "RGBA") and _changes_little(transform, mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if same else transform


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return True if no colour of a coarse grid changes by more than rounding does."""
    levels = range(0, 256, 51)
    grid = bytes(level for colour in itertools.product(levels, repeat=3) for level in colour)
    before = Image.frombytes("RGB", (len(grid) // 3, 1), grid).convert(mode)
    after = ImageCms.applyTransform(before, transform)
    if after is None:
        return True
    change = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    return not any(change.point(lambda level: level > _ROUNDING).tobytes())
