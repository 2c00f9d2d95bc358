"""Statistics of a picture that need no network: cheap, cached, and never an input of the head."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.imaging.decode import decode_opened
from models.imaging.open import open_image

_HASH_EDGE: Final = 16  # 16 x 16 comparisons: a 256-bit difference hash
_MIN_VARIANCE: Final = 1e-9  # divisor in place of a plain picture's variance of 0

# A picture with fewer informative comparisons of 256, or a lower deviation of luma (5 of 255
# levels), is blank. Real photographs have 177 and 0.108 at least. All black frames look alike,
# which makes them useless rather than copies of each other.
_MIN_INFORMATIVE_BITS: Final = 24
_MIN_CONTRAST: Final = 0.02


@dataclass(frozen=True)
class ImageStats:
    """Statistics of one picture.

    Attributes:
        sha256: Digest of the file's bytes, in hexadecimal.
        file_bytes: Size of the file, in bytes.
        width_px: Width as stored, before any turning.
        height_px: Height as stored.
        format: Pillow's name of the file format.
        mode: Pillow's name of the colour mode.
        brightness: Mean luma, 0..1.
        contrast: Standard deviation of luma, 0..1.
        darkest, lightest: 1st and 99th percentile of luma, 0..1: the used part of the range.
        sharpness: Variance of the Laplacian of luma at the model's input size (Pech-Pacheco et
            al. 2000); small if blurred or enlarged from a small picture.
        fineness: Sharpness divided by that of the picture at half the size, which hardly depends
            on the subject: small if the finest details are missing, as in enlarged pictures.
        red, green, blue: Channel means, 0..1.
        dhash: Difference hash (hex, 256 bits) of the picture as the model sees it.
        dhash_mirrored: Difference hash of its mirror image.
    """

    sha256: str
    file_bytes: int
    width_px: int
    height_px: int
    format: str
    mode: str
    brightness: float
    contrast: float
    darkest: float
    lightest: float
    sharpness: float
    fineness: float
    red: float
    green: float
    blue: float
    dhash: str
    dhash_mirrored: str

    @property
    def informative_bits(self) -> int:
        """Comparisons of 256 without a tie: set in the hash, or in the mirror image's."""
        return int(self.dhash, 16).bit_count() + int(self.dhash_mirrored, 16).bit_count()

    @property
    def is_blank(self) -> bool:
        """True if the picture shows too little for its hash to mean anything."""
        return self.contrast < _MIN_CONTRAST or self.informative_bits < _MIN_INFORMATIVE_BITS

    def to_json(self) -> bytes:
        """Return the fields for the cache."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self | None:
        """Return what `to_json` stored; None if it is something else."""
        try:
            values: Any = json.loads(data)
            for field in fields(cls):
                value = values[field.name]
                if type(value) is not field.type or (
                    isinstance(value, float) and not math.isfinite(value)
                ):
                    return None
            stats = cls(**values)
            stats.informative_bits  # noqa: B018  the hashes are hexadecimal
        except (ValueError, TypeError, KeyError):
            return None
        return stats


def decode_and_measure(data: bytes, *, size: int) -> tuple[Tensor, ImageStats]:
    """Decode a picture as the service does, and measure its statistics.

    Args:
        data: One encoded file.
        size: Edge S of the decoded square, in pixels.

    Returns:
        uint8 (3, S, S) pixels, and the statistics.

    Raises:
        PictureError: As `models.imaging.decode.decode_image`, or decoding takes too long.
    """
    image = open_image(data)
    # Decoding may change these: a JPEG is drafted at a smaller size.
    width, height, kind, mode = image.width, image.height, image.format or "", image.mode
    pixels, _ = decode_opened(image, size=size)
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in pixels.numpy()])
    grey = picture.convert("L")
    # One histogram is several times cheaper than a pass over the pixels for each mean.
    counts = np.array([*grey.histogram(), *picture.histogram()]).reshape(4, 256)
    shares = counts[0] / size**2
    scale = np.arange(256) / 255.0
    brightness, red, green, blue = (counts @ scale / size**2).tolist()
    darkest, lightest = np.searchsorted(np.cumsum(shares), (0.01, 0.99)) / 255.0
    luma = np.asarray(grey, dtype=np.float32) / 255.0
    sharpness = _laplacian_variance(luma)
    even = luma[: size // 2 * 2, : size // 2 * 2]
    halved = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    # Shrunk as imagehash does, once for both hashes.
    small = grey.resize((_HASH_EDGE + 1, _HASH_EDGE), Image.Resampling.LANCZOS)
    return pixels, ImageStats(
        sha256=hashlib.sha256(data).hexdigest(),
        file_bytes=len(data),
        width_px=width,
        height_px=height,
        format=kind,
        mode=mode,
        brightness=brightness,
        contrast=float(np.sqrt(shares @ (scale - brightness) ** 2)),
        darkest=float(darkest),
        lightest=float(lightest),
        sharpness=sharpness,
        fineness=sharpness / max(_laplacian_variance(halved), _MIN_VARIANCE),
        red=red,
        green=green,
        blue=blue,
        dhash=_hash(small),
        dhash_mirrored=_hash(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    )


def _hash(small: Image.Image) -> str:
    """Return the difference hash in hex, faster than `str()` of imagehash's own object."""
    bits = imagehash.dhash(small, hash_size=_HASH_EDGE).hash
    return np.packbits(bits).tobytes().hex()


def _laplacian_variance(luma: NDArray[np.float32]) -> float:
    """Return the variance of the four-neighbour Laplacian of (H, W) luma."""
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    return float(laplacian.var())
