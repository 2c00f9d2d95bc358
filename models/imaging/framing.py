"""Framing: the part of a picture that shows its main face as the training pictures show theirs.

A model that has learnt from pictures of one face each has not learnt from a photograph of a whole
scene. If the answer to the whole picture is doubtful, its main face is looked for and classified in
a second pass, cut out with as much around it as in training. The nearer one of the two answers to
the training pictures counts. Training, its tests and the service all follow `Framing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.imaging.decode import OrientedImage
from models.imaging.face_detector import PACKAGE, VERSION, Detector
from models.imaging.faces import MIN_FACE_PX, Edges, Face, find_faces, longer_side

FRAMER: Final = f"{PACKAGE}-{VERSION}-margins-1"
"""Name of this module's method to find and frame the main face."""

# Longer sides of the copies that are searched, in pixels, one after the other. Most doubtful
# pictures are framed already: the smallest copy detects that in a fifth of the time.
_EDGES_PX: Final = (128, 320, 1280)
# A main face of at least this many pixels in a copy is found in it; a larger copy adds smaller
# faces only.
_SURE_PX: Final = 32
MAX_ENLARGEMENT: Final = 2.0
"""Max factor by which a small picture is enlarged before it is searched: a face of 24 pixels is at
the detector's limit."""

# A picture is framed already if its crop would be at least this share of its area.
_FRAMED_AREA: Final = 2 / 3
# The main face is the largest one whose score is at least this share of the best: a dog in front
# may be larger than the person's face, with half the score.
_COMPARABLE_SCORE: Final = 0.8
# Further faces at least this long, as a share of the main face, are of similar size.
_SIMILAR_SIZE: Final = 2 / 3


@dataclass(frozen=True)
class FramedFace:
    """The main face of a picture, framed as in training.

    Attributes:
        box: The part to classify, in pixels of the upright picture.
        face: The face inside it.
        further: Number of other faces of similar size.
    """

    box: Edges
    face: Face
    further: int


@dataclass(frozen=True)
class Framing:
    """How a model's training pictures are framed on one face, and when a picture is framed so.

    Attributes:
        margins: Left, top, right, bottom: from the face's box to the picture's edges, in lengths of
            the box's longer side.
        beyond: Distance to the training pictures above which a face is looked for.
        below: Score below which a face is looked for.
    """

    margins: tuple[float, float, float, float]
    beyond: float
    below: float

    def is_doubtful(self, score: float, distance: float) -> bool:
        """Return True if the answer to a whole picture calls for a search for its main face."""
        return score < self.below or distance > self.beyond

    def around(self, box: Edges, width: int, height: int) -> Edges:
        """Return the part of a picture that frames a face as in training, cut at the edges."""
        left, top, right, bottom = self.margins
        side = longer_side(box)
        return (
            max(0, round(box[0] - left * side)),
            max(0, round(box[1] - top * side)),
            min(width, round(box[2] + right * side)),
            min(height, round(box[3] + bottom * side)),
        )

    def find(self, picture: OrientedImage, detector: Detector) -> FramedFace | None:
        """Return the main face; None without one, or if the picture is framed already."""
        area, longest = picture.width * picture.height, max(picture.width, picture.height)
        faces: list[Face] = []
        main: Face | None = None
        for edge in _EDGES_PX:
            faces = find_faces(
                picture, detector, edges_px=(edge,), enlarge=MAX_ENLARGEMENT, min_px=MIN_FACE_PX
            )
            main = main_face_of(faces)
            scale = min(MAX_ENLARGEMENT, edge / longest)
            if main is not None:
                box = self.around(main.box, picture.width, picture.height)
                if (box[2] - box[0]) * (box[3] - box[1]) >= _FRAMED_AREA * area:
                    return None
                if edge > _EDGES_PX[0] and longer_side(main.box) * scale >= _SURE_PX:
                    break
            if scale == MAX_ENLARGEMENT:
                break
        if main is None:
            return None
        similar = _SIMILAR_SIZE * longer_side(main.box)
        return FramedFace(box, main, sum(longer_side(face.box) >= similar for face in faces) - 1)


def main_face_of(faces: Sequence[Face]) -> Face | None:
    """Return the largest of the faces about as likely as the likeliest; None without faces."""
    best = max((face.score for face in faces), default=0.0)
    likely = [face for face in faces if face.score >= _COMPARABLE_SCORE * best]
    return max(likely, key=lambda face: longer_side(face.box), default=None)
