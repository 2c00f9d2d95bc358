"""Small images that are made on the spot."""

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw


class DrawData(Protocol):
    """Signature of the fixture `draw_data`."""

    def __call__(self, folder: Path, counts: dict[str, int], *, seed: int = 0) -> Path: ...


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the image as an encoded file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def photograph(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    """Return a smooth colour image that differs from its rotated and mirrored copies."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def draw_class(label: str, random: np.random.Generator) -> Image.Image:
    """Return an image of a class: the shape determines the class, the background does not."""
    ground = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    picture = ground.resize((64, 64), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    x, y = (int(value) for value in random.integers(4, 24, 2))
    red, green, blue = (int(value) for value in random.integers(0, 256, 3))
    box, colour = (x, y, x + 34, y + 34), (red, green, blue)
    match label:
        case "bar":
            draw.rectangle((x, y + 12, x + 34, y + 22), fill=colour, outline="black")
        case "disc":
            draw.ellipse(box, fill=colour, outline="black")
        case _:
            draw.polygon([(x, y + 34), (x + 17, y), (x + 34, y + 34)], fill=colour, outline="white")
    return picture


def draw_folders(folder: Path, counts: dict[str, int], *, seed: int = 0) -> Path:
    """Write a data set of drawn shapes, one folder per class."""
    random = np.random.default_rng(seed)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for index in range(count):
            path = folder / label / f"{index:03}.jpg"
            path.write_bytes(encode(draw_class(label, random), "JPEG", quality=90))
    return folder
