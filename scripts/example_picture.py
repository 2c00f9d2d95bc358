"""Draw service/web/example.jpg: a face with a mask, of plain shapes, so that it shows nobody.

python -m scripts.example_picture
"""

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

TARGET = Path(__file__).parent.parent / "service" / "web" / "example.jpg"
_SIDE_PX = 224
_OVER = 4  # drawn this much larger, then shrunk, for smooth edges

_WALL, _SHIRT, _HAIR = (110, 130, 120), (64, 84, 122), (58, 40, 32)
_SKIN, _SHADE, _MASK, _FOLD = (222, 176, 146), (196, 146, 116), (120, 180, 220), (122, 170, 200)


def draw() -> Image.Image:
    """Return the picture, 224 pixels square."""
    side = _SIDE_PX * _OVER
    picture = Image.new("RGB", (side, side), _WALL)
    pen = ImageDraw.Draw(picture)

    def place(*shares: float) -> list[float]:
        return [share * side for share in shares]

    pen.ellipse(place(0.04, 0.84, 0.96, 1.5), fill=_SHIRT)
    pen.rectangle(place(0.39, 0.7, 0.61, 0.9), fill=_SHADE)
    pen.ellipse(place(0.22, 0.06, 0.78, 0.72), fill=_HAIR)
    pen.ellipse(place(0.22, 0.4, 0.3, 0.54), fill=_SHADE)
    pen.ellipse(place(0.7, 0.4, 0.78, 0.54), fill=_SHADE)
    pen.ellipse(place(0.26, 0.14, 0.74, 0.84), fill=_SKIN)
    pen.chord(place(0.25, 0.09, 0.75, 0.49), 190, 350, fill=_HAIR)
    for x in (0.39, 0.61):
        pen.arc(place(x - 0.065, 0.34, x + 0.065, 0.44), 200, 340, fill=_HAIR, width=side // 60)
        pen.ellipse(place(x - 0.045, 0.41, x + 0.045, 0.455), fill="white")
        pen.ellipse(place(x - 0.02, 0.41, x + 0.02, 0.455), fill=_HAIR)
    pen.line(place(0.27, 0.53, 0.3, 0.56), fill="white", width=side // 90)
    pen.line(place(0.73, 0.53, 0.7, 0.56), fill="white", width=side // 90)
    edge = [(0.285, 0.56), (0.4, 0.535), (0.5, 0.5), (0.6, 0.535), (0.715, 0.56)]
    chin = [(0.5 + 0.22 * math.cos(t / 10), 0.63 + 0.23 * math.sin(t / 10)) for t in range(32)]
    pen.polygon([(x * side, y * side) for x, y in edge + chin], fill=_MASK)
    for y in (0.62, 0.68, 0.74):
        pen.line(place(0.3, y - 0.01, 0.5, y + 0.01, 0.7, y - 0.01), fill=_FOLD, width=side // 110)
    small = picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    return small.filter(ImageFilter.GaussianBlur(0.6))


if __name__ == "__main__":
    draw().save(TARGET, "JPEG", quality=85, optimize=True)
