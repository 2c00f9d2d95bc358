"""Faces of a picture: where they are, and each cut out as the model is given it.

    bytes -> upright picture -> faces, likeliest first -> uint8 (3, S, S) of each

Training with `--crop faces` and the service both cut by `cut_face` and `cut_main_face`. Change
what these do, and `CROPPER` must change with it: the manifest names it.
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from models.imaging.decode import Opened, Upright, open_image, upright_bytes
from models.imaging.face_detector import PACKAGE, VERSION, Box, Detector
from models.imaging.limits import MAX_PIXELS, SEARCH_BYTES, SEARCHED_PX, UPRIGHT_PX

CROPPER: Final = f"{PACKAGE}-{VERSION}-square-1"
"""Name of the way from a picture to its faces that this module implements."""

_LEAST_SCORE: Final = 0.5
# Of two boxes that share more than this part of their union the likelier one stays.
_SAME_FACE: Final = 0.3
# Of a box's longer side, on each side of it: hair, chin, and some of what is around.
_MARGIN: Final = 0.2


Edges = tuple[int, int, int, int]


@dataclass(frozen=True)
class Face:
    """One face, in pixels of the upright picture.

    Attributes:
        box: Left, top, right, bottom of the face itself.
        square: The same of what the model is given: with a margin, moved and at last shortened
            to stay inside the picture.
        score: How sure the detector is, 0..1.
    """

    box: Edges
    square: Edges
    score: float


def open_upright(data: bytes | bytearray, *, max_pixels: int = MAX_PIXELS) -> Upright:
    """Decode a picture for finding and cutting out its faces.

    Raises:
        EmptyPicture, UnsupportedFormat, ImageTooLarge, ImageTooCostly, UndecodableImage: As
            `decode_image`.
    """
    return upright_of(open_image(data, max_pixels=max_pixels))


def upright_of(image: Opened) -> Upright:
    """The second half of `open_upright`, for who wants to look at the header between the two.

    Raises:
        ImageTooCostly, UndecodableImage: As `decode_opened`.
    """
    return Upright(image, longest_px=UPRIGHT_PX)


def searching_bytes(image: Opened) -> int:
    """Most memory that `upright_of` and then `find_faces` take of a picture as it was opened."""
    return upright_bytes(image, UPRIGHT_PX) + SEARCH_BYTES


def find_faces(picture: Upright, detector: Detector) -> list[Face]:
    """All faces, the likeliest first."""
    longest = max(picture.width, picture.height)
    found: list[tuple[float, Edges]] = []
    for edge in SEARCHED_PX:
        width, height, rgb = picture.shrunk(edge)
        scale = picture.width / width, picture.height / height
        found += [
            (box.score, _placed(box, scale, picture))
            for box in detector.find(width, height, rgb)
            if box.score >= _LEAST_SCORE
        ]
        if longest <= edge:
            break
    kept: list[Face] = []
    for score, box in sorted(found, key=lambda one: -one[0]):
        if _area(box) > 0 and all(_shared(box, face.box) <= _SAME_FACE for face in kept):
            kept.append(Face(box, square_around(box, picture.width, picture.height), score))
    return kept


def square_around(box: Edges, width: int, height: int) -> Edges:
    """The square around a face, inside a picture of that size; shorter only where that is."""
    left, top, right, bottom = box
    side = round((1 + 2 * _MARGIN) * max(right - left, bottom - top))
    x0, x1 = _span((left + right) / 2, side, width)
    y0, y1 = _span((top + bottom) / 2, side, height)
    return x0, y0, x1, y1


def cut_face(picture: Upright, face: Face | None, size: int) -> Tensor:
    """A face, or else the whole, as the model is given it: uint8 (3, S, S), as `decode_image`."""
    return picture.cut(face.square if face else (0, 0, picture.width, picture.height), size)


def main_face(picture: Upright, detector: Detector) -> Face | None:
    """The largest face, if there is any."""
    return max(find_faces(picture, detector), key=lambda one: _area(one.box), default=None)


def cut_main_face(picture: Upright, detector: Detector, size: int) -> tuple[Tensor, Face | None]:
    """The largest face as the model is given it; the whole picture where there is none.

    Returns:
        uint8 (3, S, S), and the face.
    """
    face = main_face(picture, detector)
    return cut_face(picture, face, size), face


def _placed(box: Box, scale: tuple[float, float], picture: Upright) -> Edges:
    """A box in pixels of the picture, and inside it."""
    x0, x1 = (
        min(max(0, round(x * scale[0])), picture.width) for x in (box.left, box.left + box.width)
    )
    y0, y1 = (
        min(max(0, round(y * scale[1])), picture.height) for y in (box.top, box.top + box.height)
    )
    return x0, y0, x1, y1


def _area(box: Edges) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _shared(a: Edges, b: Edges) -> float:
    """Intersection over union."""
    both = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both / (_area(a) + _area(b) - both)


def _span(centre: float, side: int, limit: int) -> tuple[int, int]:
    """From and to of a side around a centre, inside 0..limit."""
    side = min(side, limit)
    start = min(max(0, round(centre - side / 2)), limit - side)
    return start, start + side
