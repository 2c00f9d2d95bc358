"""Finding faces and cutting them out."""

import io

import pytest
import torch
from PIL import Image

from models.errors import ImageTooLarge, UndecodableImage
from models.imaging.decode import apply_orientation, decode_image
from models.imaging.face_detector import Detector, load_detector
from models.imaging.faces import (
    Edges,
    Face,
    cut_face,
    cut_main_face,
    find_faces,
    open_oriented,
    square_around,
)
from tests.images import encode
from tests.models.imaging.face_pictures import (
    PEOPLE,
    needs_detector,
    nobody_file,
    people_file,
    person_at,
)
from tests.models.imaging.face_pictures import three_people as drawn

pytestmark = needs_detector


@pytest.fixture(scope="module", name="detector")
def _detector() -> Detector:
    return load_detector()


def people_of(faces: list[Face]) -> list[int | None]:
    return [person_at(*middle(face)) for face in faces]


def middle(face: Face) -> tuple[float, float]:
    left, top, right, bottom = face.box
    return (left + right) / 2, (top + bottom) / 2


def test_find_faces_returns_each_face_once_likeliest_first(detector: Detector) -> None:
    faces = find_faces(open_oriented(people_file()), detector)
    assert sorted(map(str, people_of(faces))) == ["0", "1", "2"]
    assert [face.score for face in faces] == sorted((f.score for f in faces), reverse=True)
    assert find_faces(open_oriented(nobody_file()), detector) == []


# What undoes an orientation is itself, but for the two quarter turns.
_BACK = {6: 8, 8: 6}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_pixels_of_the_upright_picture(orientation: int, detector: Detector) -> None:
    stored = apply_orientation(drawn(), _BACK.get(orientation, orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    stored.save(data, "JPEG", quality=95, exif=exif)
    picture = open_oriented(data.getvalue())
    assert (picture.width, picture.height) == drawn().size
    assert sorted(map(str, people_of(find_faces(picture, detector)))) == ["0", "1", "2"]


def test_find_faces_finds_small_faces_of_a_large_photograph(
    detector: Detector,
) -> None:
    large = Image.new("RGB", (3600, 2800), "gray")
    large.paste(drawn().resize((1800, 1000)), (1700, 1700))
    picture = open_oriented(encode(large, "JPEG"))
    assert (picture.width, picture.height) == (3600, 2800)
    faces = find_faces(picture, detector)
    people = [person_at((x - 1700) / 2, (y - 1700) / 2) for x, y in map(middle, faces)]
    assert sorted(map(str, people)) == ["0", "1", "2"]


def test_cut_face_shows_the_face(detector: Detector) -> None:
    picture = open_oriented(people_file())
    faces = find_faces(picture, detector)
    for face, person in zip(faces, people_of(faces), strict=True):
        assert person is not None
        left, top, edge = PEOPLE[person]
        wanted = decode_image(encode(drawn().crop(face.square), "PNG"), size=64)
        cut = cut_face(picture, face, 64)
        assert (cut.dtype, cut.shape) == (torch.uint8, (3, 64, 64))
        assert (cut.float() - wanted.float()).abs().mean() < 4
        x0, y0, x1, y1 = face.square
        assert x1 - x0 == y1 - y0
        assert left < (x0 + x1) / 2 < left + edge
        assert top < (y0 + y1) / 2 < top + edge


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((100, 100, 150, 200), (55, 80, 195, 220)),  # a fifth of the longer side on each
        ((0, 0, 40, 50), (0, 0, 70, 70)),  # moved into the picture
        ((860, 460, 900, 500), (844, 444, 900, 500)),
        ((100, 20, 400, 480), (0, 0, 644, 500)),  # higher than the picture: shortened
    ],
)
def test_square_around_stays_inside_the_picture(box: Edges, square: Edges) -> None:
    assert square_around(box, 900, 500) == square


def test_cut_main_face_cuts_the_largest_or_the_whole_picture(
    detector: Detector,
) -> None:
    picture = open_oriented(people_file())
    pixels, face = cut_main_face(picture, detector, 48)
    assert face is not None
    assert people_of([face]) == [0]
    assert torch.equal(pixels, cut_face(picture, face, 48))
    nobody = nobody_file()
    pixels, face = cut_main_face(open_oriented(nobody), detector, 48)
    assert face is None
    assert torch.equal(pixels, decode_image(nobody, size=48))


def test_open_oriented_raises_picture_errors() -> None:
    with pytest.raises(UndecodableImage):
        open_oriented(people_file()[:2000])
    with pytest.raises(ImageTooLarge):
        open_oriented(people_file(), max_pixels=1000)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2), (33, 31)])
def test_find_faces_accepts_any_shape(size: tuple[int, int], detector: Detector) -> None:
    assert find_faces(open_oriented(encode(Image.new("RGB", size), "PNG")), detector) == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_oriented_image_reduces_large_pictures(format: str) -> None:
    """A part of a twice as large picture looks the same, and memory is bounded."""
    large = drawn().resize((4500, 2500))
    picture = open_oriented(encode(large, format))
    assert (picture.width, picture.height) == (4500, 2500)
    width, height, _ = picture.thumbnail(10_000)
    assert 1920 <= width < 2 * 1920
    assert abs(height / width - 5 / 9) < 0.01
    cut = picture.cut((200, 300, 1320, 1420), 64)
    wanted = decode_image(encode(large.crop((200, 300, 1320, 1420)), "PNG"), size=64)
    assert (cut.float() - wanted.float()).abs().mean() < 4


@pytest.mark.parametrize("size", [(1, 1), (1, 65000), (65000, 1), (20_000, 3)])
def test_find_faces_accepts_the_thinnest_jpegs(size: tuple[int, int], detector: Detector) -> None:
    assert find_faces(open_oriented(encode(Image.new("RGB", size), "JPEG")), detector) == []
