"""A picture of three people of plain shapes, whose faces the detector finds."""

import functools

import pytest
from PIL import Image

from models.imaging.face_detector import is_installed
from scripts.example_picture import draw
from tests.images import encode

needs_detector = pytest.mark.skipif(not is_installed(), reason="the extra `faces` is not installed")

SIZE = (900, 500)
# Left, top and edge of each drawn person; the face is in the middle of it.
PEOPLE = ((40, 60, 224), (420, 300, 120), (700, 40, 160))


@functools.cache
def three_people() -> Image.Image:
    picture = Image.new("RGB", SIZE, "gray")
    for left, top, edge in PEOPLE:
        picture.paste(draw().resize((edge, edge)), (left, top))
    return picture


def people_file(format: str = "PNG") -> bytes:
    return encode(three_people(), format)


def nobody_file() -> bytes:
    return encode(Image.new("RGB", SIZE, "gray"), "PNG")


def person_at(x: float, y: float) -> int | None:
    """Return the index of the person whose face a point is on."""
    for index, (left, top, edge) in enumerate(PEOPLE):
        if abs(x - left - edge / 2) < 0.15 * edge and abs(y - top - edge / 2) < 0.15 * edge:
            return index
    return None
