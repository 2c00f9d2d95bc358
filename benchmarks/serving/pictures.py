"""Generated images like photographs: JPEG files with the pixels and bytes of a camera's."""

import io
from typing import Final

import numpy as np
from PIL import Image

from training.publish.golden import draw_pool

_QUALITY: Final = 88
# Standard deviations of noise whose grains are 1, 2, 4 ... pixels wide: about as much fine
# detail as a camera's picture has, judged by the size of the file.
_GRAINS: Final = (6.5, 6.5, 7.0, 9.0, 12.0, 14.0, 16.0, 18.0)
_UNIFORM: Final = 256 / 12**0.5  # standard deviation of evenly spread bytes

SIZES: Final = {"640x480": (640, 480), "12 MP": (4000, 3000)}
"""Width and height by the name that tables show."""


def photographs(size: tuple[int, int], *, count: int, seed: int) -> list[bytes]:
    """Return different JPEG files: a gradient, noise at all scales, and a drawn face."""
    random = np.random.default_rng(seed)
    faces = draw_pool(seed)
    return [_photograph(size, faces[index % len(faces)], random) for index in range(count)]


def mixed_sizes(*, count: int, seed: int) -> list[bytes]:
    """Return photographs of sizes from a thumbnail to 12 MP, most of them small."""
    random = np.random.default_rng(seed)
    pictures = []
    for width in np.geomspace(100, 4000, count).astype(int):
        size = (int(width), int(width * random.uniform(0.5, 1.0)))
        pictures += photographs(size, count=1, seed=seed)
    return pictures


def _photograph(size: tuple[int, int], face: bytes, random: np.random.Generator) -> bytes:
    width, height = size
    slope = np.linspace(0, 1, width) * random.uniform(-60, 60)
    rise = np.linspace(0, 1, height) * random.uniform(-60, 60)
    ground = random.uniform(80, 170, 3)
    pixels = slope[None, :, None] + rise[:, None, None] + ground  # (H, W, 3)
    pixels = pixels.astype(np.float32)
    for power, deviation in enumerate(_GRAINS):
        coarse = (max(2, width >> power), max(2, height >> power))
        noise = random.integers(0, 256, (coarse[1], coarse[0], 3), dtype=np.uint8)
        grown = Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)
        pixels += (np.asarray(grown, np.float32) - 128) * np.float32(deviation / _UNIFORM)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    edge = min(width, height) * 2 // 3
    drawn = Image.open(io.BytesIO(face)).resize((edge, edge), Image.Resampling.BICUBIC)
    corner = (int(random.integers(0, width - edge + 1)), int(random.integers(0, height - edge + 1)))
    picture.paste(
        Image.blend(picture.crop((*corner, corner[0] + edge, corner[1] + edge)), drawn, 0.6), corner
    )
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
