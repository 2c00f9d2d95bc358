"""Golden pictures: small synthetic pictures, and the answers that prove a bundle intact."""

import io
from typing import Final

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from models.bundle.device import Outputs
from models.bundle.manifest import Golden, GoldenPicture
from models.imaging.decode import decode_image

_POOL_SIZE: Final = 32  # pictures drawn; the least certain ones are kept
_EDGE_PX: Final = 72


def draw_pool(seed: int) -> list[bytes]:
    """Draw simple faces, some with a cover, on plain backgrounds: PNG files of 1-2 kB each."""
    random = np.random.default_rng(seed)
    return [_draw(random) for _ in range(_POOL_SIZE)]


def _draw(random: np.random.Generator) -> bytes:
    def colour(low: int = 0, high: int = 256) -> tuple[int, int, int]:
        red, green, blue = (int(value) for value in random.integers(low, high, 3))
        return red, green, blue

    edge = _EDGE_PX
    picture = Image.new("RGB", (edge, edge + int(random.integers(-12, 13))), colour())
    draw = ImageDraw.Draw(picture)
    middle, width = edge / 2 + random.uniform(-6, 6), edge * random.uniform(0.3, 0.42)
    top, bottom = edge * random.uniform(0.05, 0.2), edge * random.uniform(0.85, 0.95)
    draw.ellipse((middle - width, top, middle + width, bottom), fill=colour(90, 240))
    eyes = top + (bottom - top) * 0.4
    for side in (-1, 1):
        x = middle + side * width * 0.42
        draw.ellipse((x - 4, eyes - 3, x + 4, eyes + 3), fill=colour(0, 90))
    if random.random() < 0.5:
        cover = (middle - width * 0.9, eyes + 9, middle + width * 0.9, bottom - 1)
        draw.rounded_rectangle(cover, 12, fill=colour(60, 256))
    else:
        mouth = eyes + (bottom - eyes) * 0.6
        draw.line((middle - 9, mouth, middle + 9, mouth), fill=colour(60, 200), width=3)
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return data.getvalue()


def decode_pool(pool: list[bytes], *, size: int) -> list[Tensor]:
    """Decode each picture as the service does: uint8 (3, S, S)."""
    return [decode_image(data, size=size) for data in pool]


def choose_golden(
    pool: list[bytes], outputs: Outputs, *, num_pictures: int, tolerance: float
) -> Golden:
    """Keep the least certain pictures: their answers move most if anything is wrong.

    Args:
        pool: Encoded pictures.
        outputs: Answers of the exported graph to them.
        num_pictures: Number to keep.
        tolerance: Max difference of a loaded model's answers.
    """
    probabilities, activation, distance = outputs
    certainty = probabilities.max(dim=1).values
    chosen = certainty.argsort(stable=True)[:num_pictures].tolist()
    means = activation.mean((2, 3))
    return Golden(
        tolerance=tolerance,
        pictures=[
            GoldenPicture.model_construct(
                picture=pool[index],
                probabilities=probabilities[index].tolist(),
                activation_means=means[index].tolist(),
                distance=None if distance is None else float(distance[index]),
            )
            for index in chosen
        ],
    )
