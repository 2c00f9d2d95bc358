"""Framing: the main face of a picture, cut out as the training pictures show theirs."""

import pytest
from PIL import Image

from models.imaging.decode import OrientedImage
from models.imaging.face_detector import Box, Detector, load_detector
from models.imaging.faces import MIN_FACE_PX, Edges, Face, open_oriented
from models.imaging.framing import Framing, main_face_of
from tests.images import encode
from tests.models.imaging.face_pictures import needs_detector, nobody_file, people_file

FRAMING = Framing((0.5, 0.25, 0.5, 0.25), beyond=0.3, below=0.9)


class StubDetector(Detector):
    """Detector that finds given faces: box in pixels of the picture, and score.

    Attributes:
        searched: Longer side of each copy that was searched.
    """

    def __init__(self, width: int, *faces: tuple[Edges, float], from_px: float = 0) -> None:
        self.width, self.faces, self.from_px = width, faces, from_px
        self.searched: list[int] = []

    def find(self, width: int, height: int, rgb: bytes) -> list[Box]:
        self.searched.append(max(width, height))
        scale = width / self.width
        return [
            Box(score, *(round(scale * x) for x in (x0, y0, x1 - x0, y1 - y0)))
            for (x0, y0, x1, y1), score in self.faces
            if scale * (x1 - x0) >= self.from_px
        ]


def picture(width: int = 640, height: int = 480) -> OrientedImage:
    return open_oriented(encode(Image.new("RGB", (width, height), "gray"), "PNG"))


def face(box: Edges, score: float = 0.9) -> Face:
    return Face(box, box, score)


def test_an_answer_is_doubtful_below_the_score_or_beyond_the_distance() -> None:
    assert not FRAMING.is_doubtful(0.9, 0.3)
    assert FRAMING.is_doubtful(0.89, 0.1)
    assert FRAMING.is_doubtful(0.99, 0.31)


def test_margins_are_lengths_of_the_longer_side_and_end_at_the_picture() -> None:
    assert FRAMING.around((200, 100, 280, 200), 640, 480) == (150, 75, 330, 225)
    assert FRAMING.around((10, 10, 110, 110), 120, 480) == (0, 0, 120, 135)


def test_main_face_is_the_largest_of_those_about_as_likely_as_the_likeliest() -> None:
    dog, person, child = face((0, 0, 200, 200), 0.6), face((0, 0, 90, 90)), face((0, 0, 60, 60))
    assert main_face_of([person, dog, child]) == person
    assert main_face_of([]) is None


def test_find_returns_the_main_face_and_the_number_of_similar_ones() -> None:
    boxes = [(100, 100, 160, 180), (300, 100, 360, 170), (500, 100, 530, 130)]
    detector = StubDetector(640, *((box, 0.9) for box in boxes))
    found = FRAMING.find(picture(), detector)
    assert found is not None
    assert found.box == (60, 80, 200, 200)
    assert abs(found.face.box[0] - 100) <= 1
    assert found.further == 1


def test_find_leaves_a_picture_that_is_framed_already_after_one_small_copy() -> None:
    detector = StubDetector(640, ((160, 100, 480, 380), 0.9))
    assert FRAMING.find(picture(), detector) is None
    assert detector.searched == [128]


def test_find_searches_larger_copies_until_the_face_is_sure() -> None:
    detector = StubDetector(640, ((300, 200, 400, 300), 0.9))
    assert FRAMING.find(picture(), detector) is not None
    assert detector.searched == [128, 320]
    small = StubDetector(640, ((300, 200, 330, 230), 0.9), from_px=20)
    assert FRAMING.find(picture(), small) is not None
    assert small.searched == [128, 320, 1280]
    nobody = StubDetector(640)
    assert FRAMING.find(picture(), nobody) is None
    assert nobody.searched == [128, 320, 1280]


def test_find_enlarges_a_small_picture_twice_at_most() -> None:
    nobody = StubDetector(100)
    assert FRAMING.find(picture(100, 80), nobody) is None
    assert nobody.searched == [128, 200]


def test_find_answers_nothing_about_a_face_below_the_minimum() -> None:
    side = MIN_FACE_PX
    for length, found in ((side, True), (side - 1, False)):
        detector = StubDetector(640, ((300, 200, 300 + length, 200 + length), 0.9))
        detector.width = 1280  # boxes are given in the enlarged copy
        detector.faces = (((600, 400, 600 + 2 * length, 400 + 2 * length), 0.9),)
        assert (FRAMING.find(picture(), detector) is not None) == found


@needs_detector
def test_find_frames_a_drawn_person() -> None:
    found = Framing((0.3, 0.3, 0.3, 0.3), beyond=0.3, below=0.9).find(
        open_oriented(people_file()), load_detector()
    )
    assert found is not None
    left, top, right, bottom = found.box
    x0, y0, x1, y1 = found.face.box
    assert left < x0 < x1 < right
    assert top < y0 < y1 < bottom
    assert FRAMING.find(open_oriented(nobody_file()), load_detector()) is None


@needs_detector
@pytest.mark.parametrize("edge", [24, 32])
def test_find_sees_faces_of_24_pixels(edge: int) -> None:
    detector = load_detector()
    large = open_oriented(people_file())
    first = FRAMING.find(large, detector)
    assert first is not None
    scale = edge / max(first.face.box[2] - first.face.box[0], first.face.box[3] - first.face.box[1])
    size = round(scale * large.width), round(scale * large.height)
    width, height, rgb = large.thumbnail(max(size))
    small = open_oriented(encode(Image.frombytes("RGB", (width, height), rgb), "PNG"))
    found = FRAMING.find(small, detector)
    assert found is not None
    assert abs(found.box[0] / width - first.box[0] / large.width) < 0.1
