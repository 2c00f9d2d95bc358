"""Corruptions of a picture: eight kinds, each in five fixed steps of severity.

After ImageNet-C (Hendrycks and Dietterich 2019), which the steps of noise and JPEG come from; the
other kinds are those that a door camera or a messenger adds. They are for measuring only: the
augmented copies of training share nothing with them, so that no model is tested on damage that
it was trained on. The result depends on the picture's pixels alone, and each step only adds to
the one before.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

Random = np.random.Generator


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        name: Name in the report.
        unit: Unit of the steps, in words.
        steps: Severities, from mild to strong.
        apply: (RGB picture, step, generator) -> RGB picture of the same size.
    """

    name: str
    unit: str
    steps: tuple[float, ...]
    apply: Callable[[Image.Image, float, Random], Image.Image]


def corrupt(pixels: Tensor) -> Tensor:
    """Apply every corruption in every step to one picture.

    Args:
        pixels: uint8 (3, S, S), RGB, as `decode_image` returns it; not changed.

    Returns:
        uint8 (V, 3, S, S): each of `CORRUPTIONS` in each of its steps, in order.
    """
    planes = pixels.numpy()
    picture = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    seed = int.from_bytes(hashlib.sha256(planes.tobytes()).digest()[:8])
    versions = [
        np.asarray(corruption.apply(picture, step, np.random.default_rng((seed, number))))
        for number, corruption in enumerate(CORRUPTIONS)
        for step in corruption.steps
    ]
    return torch.from_numpy(np.stack(versions).transpose(0, 3, 1, 2).copy())


def _rotate(picture: Image.Image, degrees: float, random: Random) -> Image.Image:
    mean = tuple(np.asarray(picture).mean(axis=(0, 1)).round().astype(int).tolist())
    turned = degrees * random.choice([-1, 1])
    return picture.rotate(turned, Image.Resampling.BILINEAR, fillcolor=mean)


def _blur(picture: Image.Image, percent: float, random: Random) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(picture.width * percent / 100))


def _add_noise(picture: Image.Image, percent: float, random: Random) -> Image.Image:
    grain = random.standard_normal((picture.height, picture.width, 3), dtype=np.float32)
    noisy = np.asarray(picture) + grain * np.float32(2.55 * percent)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def _darken(picture: Image.Image, percent: float, random: Random) -> Image.Image:
    return picture.point([round(value * percent / 100) for value in range(256)] * 3)


def _compress(picture: Image.Image, quality: float, random: Random) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=round(quality))
    return Image.open(file).convert("RGB")


def _occlude(picture: Image.Image, percent: float, random: Random) -> Image.Image:
    side = round(picture.width * (percent / 100) ** 0.5)
    left, top = (round(float(share) * (picture.width - side)) for share in random.random(2))
    red, green, blue = random.integers(0, 256, 3).tolist()
    damaged = picture.copy()
    damaged.paste((red, green, blue), (left, top, left + side, top + side))
    return damaged


def _crop(picture: Image.Image, percent: float, random: Random) -> Image.Image:
    cut = picture.width * (1 - percent / 100) / 2
    box = (cut, cut, picture.width - cut, picture.height - cut)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def _coarsen(picture: Image.Image, times: float, random: Random) -> Image.Image:
    small = max(1, round(picture.width / times))
    reduced = picture.resize((small, small), Image.Resampling.BOX)
    return reduced.resize(picture.size, Image.Resampling.BICUBIC)


CORRUPTIONS: Final = (
    Corruption("rotation", "degrees turned", (5, 10, 20, 30, 45), _rotate),
    Corruption("blur", "spread, % of the edge", (0.5, 1, 1.5, 2, 3), _blur),
    Corruption("noise", "spread, % of white", (8, 12, 18, 26, 38), _add_noise),
    Corruption("darkness", "% of brightness left", (70, 50, 35, 20, 10), _darken),
    Corruption("JPEG", "quality", (25, 18, 15, 10, 7), _compress),
    Corruption("occlusion", "% of the area hidden", (5, 10, 20, 30, 40), _occlude),
    Corruption("crop", "% of the edge kept", (90, 80, 70, 60, 50), _crop),
    Corruption("resolution", "times fewer pixels an edge", (2, 3, 4, 6, 8), _coarsen),
)
"""In the order of the report."""
