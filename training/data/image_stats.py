"""What can be told of a picture without a network: cheap, cached, and never shown to the head."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.imaging.decode import decode_image, open_image

_HASH_EDGE: Final = 16  # 16 x 16 comparisons: a 256-bit difference hash
_LEAST: Final = 1e-9  # variance of a plain picture, which nothing is to be divided by


@dataclass(frozen=True)
class PictureFacts:
    """Facts of one picture.

    Attributes:
        sha256: Of the file's bytes.
        file_bytes: Size of the file, in bytes.
        width_px: Width as stored, before any turning.
        height_px: Height as stored.
        format: Pillow's name of the file format.
        mode: Pillow's name of the colour mode.
        brightness: Mean luma, 0..1.
        contrast: Standard deviation of luma, 0..1.
        darkest, lightest: 1st and 99th percentile of luma, 0..1: how much of the range is used.
        sharpness: Variance of the Laplacian of luma at the model's input size (Pech-Pacheco et
            al. 2000); small is blurred or blown up from a small picture.
        fineness: Sharpness by that of the picture at half the size, which hardly depends on what is
            shown: small where the finest details are missing, as in pictures once blown up.
        red, green, blue: Channel means, 0..1.
        dhash: Difference hash (hex, 256 bits) of the picture as the model sees it.
        dhash_mirrored: The same of its mirror image.
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

    def as_dict(self) -> dict[str, Any]:
        """For the cache; `PictureFacts(**facts.as_dict())` is the way back."""
        return asdict(self)


def measure(data: bytes, *, size: int) -> tuple[Tensor, PictureFacts]:
    """Decode a picture as the service does, and note its facts.

    Args:
        data: One encoded file.
        size: Edge S of the decoded square, in pixels.

    Returns:
        uint8 (3, S, S) pixels, and the facts.

    Raises:
        PictureError: As `decode_image`.
    """
    header = open_image(data)
    width, height, kind, mode = header.width, header.height, header.format or "", header.mode
    pixels = decode_image(data, size=size)
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in pixels.numpy()])
    grey = picture.convert("L")
    # Counting levels once is several times cheaper than going over the pixels for each figure.
    counts = np.array([*grey.histogram(), *picture.histogram()]).reshape(4, 256)
    shares = counts[0] / size**2
    scale = np.arange(256) / 255.0
    brightness, red, green, blue = (counts @ scale / size**2).tolist()
    darkest, lightest = np.searchsorted(np.cumsum(shares), (0.01, 0.99)) / 255.0
    luma = np.asarray(grey, dtype=np.float32) / 255.0
    sharpness = _laplacian_variance(luma)
    even = luma[: size // 2 * 2, : size // 2 * 2]
    halved = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    # As imagehash would shrink it: done once for both hashes.
    small = grey.resize((_HASH_EDGE + 1, _HASH_EDGE), Image.Resampling.LANCZOS)
    return pixels, PictureFacts(
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
        fineness=sharpness / max(_laplacian_variance(halved), _LEAST),
        red=red,
        green=green,
        blue=blue,
        dhash=_hash(small),
        dhash_mirrored=_hash(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    )


def _hash(small: Image.Image) -> str:
    """Difference hash in hex, as `str()` of imagehash's own object, which takes longer to build."""
    bits = imagehash.dhash(small, hash_size=_HASH_EDGE).hash
    return np.packbits(bits).tobytes().hex()


def _laplacian_variance(luma: NDArray[np.float32]) -> float:
    """Variance of the four-neighbour Laplacian of (H, W) luma."""
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    return float(laplacian.var())
