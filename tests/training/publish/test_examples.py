"""Example pictures of a bundle: which are chosen, and what their copies keep."""

import io
from typing import cast

import pytest
from PIL import Image

from models.bundle.out_of_fold import Answer
from training.publish.examples import choose_examples

LABELS = ("mask", "no_mask")


def answer(file: str, label: str, score: float) -> Answer:
    predicted = label if score > 0.5 else LABELS[LABELS[0] == label]
    other = LABELS[LABELS[0] == label]
    return Answer(
        file=file,
        sha256="0" * 64,
        label=label,
        group=file,
        predicted=predicted,
        probabilities={label: score, other: 1 - score},
    )


def picture(colour: tuple[int, int, int], *, size: tuple[int, int] = (60, 30)) -> bytes:
    image = Image.new("RGB", size, colour)
    exif = Image.Exif()
    exif[0x0110] = "A camera"
    exif[0x0112] = 6  # to be turned by 90 degrees
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_example_is_the_correct_answer_of_median_score() -> None:
    answers = [
        answer("a.jpg", "mask", 0.7),
        answer("b.jpg", "mask", 0.9),
        answer("c.jpg", "mask", 0.99),
        answer("wrong.jpg", "mask", 0.1),
        answer("d.jpg", "no_mask", 0.8),
    ]
    asked: list[str] = []

    def read(name: str) -> bytes:
        asked.append(name)
        return picture((200, 10, 10))

    examples = choose_examples(answers, LABELS, read)
    assert asked == ["b.jpg", "d.jpg"]
    assert sorted(examples) == ["example_0.jpg", "example_1.jpg"]


def test_example_is_upright_small_and_without_metadata() -> None:
    data = picture((10, 10, 200), size=(2000, 1000))
    (copy,) = choose_examples([answer("a.jpg", "mask", 0.9)], LABELS, lambda _: data).values()
    with Image.open(io.BytesIO(copy)) as image:
        assert image.format == "JPEG"
        width, height = image.size
        assert height <= 640
        assert width == pytest.approx(height / 2, abs=1)
        assert dict(image.getexif()) == {}
        red, _, blue = cast("tuple[int, ...]", image.getpixel((5, 5)))
        assert blue > 150 > red


def test_unreadable_pictures_and_classes_without_a_correct_answer_have_no_example() -> None:
    answers = [answer("gone.jpg", "mask", 0.8), answer("torn.jpg", "mask", 0.9)]
    answers += [answer("wrong.jpg", "no_mask", 0.2)]

    def read(name: str) -> bytes:
        if name == "gone.jpg":
            raise FileNotFoundError(name)
        return picture((0, 0, 0))[:100]

    assert choose_examples(answers, LABELS, read) == {}
