"""Faces of a picture: find them, and cut each out as input of the model.

    bytes -> upright picture -> faces, likeliest first -> uint8 (3, S, S) of each

Training with `--crop faces` and the service both cut by `cut_face` and `cut_main_face`. If these
change, `CROPPER` must change, too: the manifest names it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from models.imaging.decode import OrientedImage
from models.imaging.face_detector import PACKAGE, VERSION, Box, Detector
from models.imaging.limits import MAX_PIXELS, ORIENTED_PX, SEARCH_EDGES_PX
from models.imaging.open import LazyImage, open_image

CROPPER: Final = f"{PACKAGE}-{VERSION}-square-1"
"""Name of this module's method to find and cut out faces."""

MIN_FACE_PX: Final = 20
"""Longer side of a face's box, in pixels of the picture, below which nothing is answered about it.
A face of 24 pixels may have a box of 20."""

_MIN_SCORE: Final = 0.5
# Non-maximum suppression: of two boxes with a larger intersection over union, only the likelier
# one is kept.
_MAX_OVERLAP: Final = 0.3
# On each side, as a share of the box's longer side: hair, chin, and some surroundings.
_MARGIN: Final = 0.2


Edges = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Face:
    """One face, in pixels of the upright picture.

    Attributes:
        box: The face itself.
        square: The model's input: the box with a margin, moved and, if needed, shortened to
            stay inside the picture.
        score: The detector's confidence, 0..1.
    """

    box: Edges
    square: Edges
    score: float


def open_oriented(data: bytes | bytearray, *, max_pixels: int = MAX_PIXELS) -> OrientedImage:
    """Decode a picture to find and cut out its faces.

    Raises:
        EmptyPicture, UnsupportedFormat, ImageTooLarge, ImageTooCostly, UndecodableImage: As
            `decode_image`.
    """
    return orient(open_image(data, max_pixels=max_pixels))


def orient(image: LazyImage) -> OrientedImage:
    """Decode a picture whose header has been read; the second half of `open_oriented`.

    Raises:
        ImageTooCostly, UndecodableImage: As `decode_opened`.
    """
    return OrientedImage(image, longest_px=ORIENTED_PX)


def find_faces(
    picture: OrientedImage,
    detector: Detector,
    *,
    edges_px: Sequence[int] = SEARCH_EDGES_PX,
    enlarge: float = 1.0,
    min_px: int = 1,
) -> list[Face]:
    """Return all faces, the likeliest first.

    Args:
        picture: Picture to search.
        detector: Face detector.
        edges_px: Longer sides of the copies to search, in ascending order.
        enlarge: Max factor by which a picture smaller than such a copy is enlarged.
        min_px: Min longer side of a face's box, in pixels of the picture.
    """
    longest = max(picture.width, picture.height)
    found: list[tuple[float, Edges]] = []
    for edge in edges_px:
        width, height, rgb = picture.thumbnail(edge, enlarge=enlarge)
        scale = picture.width / width, picture.height / height
        found += [
            (box.score, _in_picture(box, scale, picture))
            for box in detector.find(width, height, rgb)
            if box.score >= _MIN_SCORE
        ]
        if enlarge * longest <= edge:
            break
    kept: list[Face] = []
    for score, box in sorted(found, key=lambda item: -item[0]):
        if (
            _area(box) > 0
            and longer_side(box) >= min_px
            and all(_overlap(box, face.box) <= _MAX_OVERLAP for face in kept)
        ):
            kept.append(Face(box, square_around(box, picture.width, picture.height), score))
    return kept


def longer_side(box: Edges) -> int:
    """Return the length of a box's longer side, in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def square_around(box: Edges, width: int, height: int) -> Edges:
    """Return the square around a face, moved and, if needed, shortened to stay inside."""
    left, top, right, bottom = box
    side = round((1 + 2 * _MARGIN) * max(right - left, bottom - top))
    x0, x1 = _span((left + right) / 2, side, width)
    y0, y1 = _span((top + bottom) / 2, side, height)
    return x0, y0, x1, y1


def cut_face(picture: OrientedImage, face: Face | None, size: int) -> Tensor:
    """Return a face, or the whole picture, as the model's input: uint8 (3, S, S)."""
    return picture.cut(face.square if face else (0, 0, picture.width, picture.height), size)


def main_face(picture: OrientedImage, detector: Detector) -> Face | None:
    """Return the largest face, None without faces."""
    return max(find_faces(picture, detector), key=lambda face: _area(face.box), default=None)


def cut_main_face(
    picture: OrientedImage, detector: Detector, size: int
) -> tuple[Tensor, Face | None]:
    """Return the largest face as the model's input, uint8 (3, S, S), and its location.

    Without faces, return the whole picture and None.
    """
    face = main_face(picture, detector)
    return cut_face(picture, face, size), face


def _in_picture(box: Box, scale: tuple[float, float], picture: OrientedImage) -> Edges:
    """Convert a box to pixels of the picture, clipped to its edges."""
    x0, x1 = (
        min(max(0, round(x * scale[0])), picture.width) for x in (box.left, box.left + box.width)
    )
    y0, y1 = (
        min(max(0, round(y * scale[1])), picture.height) for y in (box.top, box.top + box.height)
    )
    return x0, y0, x1, y1


def _area(box: Edges) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _overlap(a: Edges, b: Edges) -> float:
    """Return intersection over union."""
    both = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both / (_area(a) + _area(b) - both)


def _span(centre: float, side: int, limit: int) -> tuple[int, int]:
    """Return start and end of a side around a centre, inside 0..limit."""
    side = min(side, limit)
    start = min(max(0, round(centre - side / 2)), limit - side)
    return start, start + side
