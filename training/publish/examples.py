"""Example pictures of a model: one of its own per class, published if its data set may be shown."""

import io
from collections.abc import Callable, Sequence
from typing import Final

from PIL import Image

from models.bundle.files import example_name
from models.bundle.out_of_fold import Answer
from models.errors import PictureError
from models.imaging.decode import OrientedImage
from models.imaging.open import open_image

_LONGEST_PX: Final = 640
_JPEG_QUALITY: Final = 90


def choose_examples(
    answers: Sequence[Answer], labels: Sequence[str], read: Callable[[str], bytes]
) -> dict[str, bytes]:
    """Return a JPEG per class, by its name in a bundle; a class without a correct answer has none.

    Each is a typical picture: of those that were answered correctly by a model that had not seen
    them, the one with the median score. The copy has no metadata, such as a place or a camera.

    Args:
        answers: Out-of-fold answers of the model.
        labels: Classes, in the order of the model's outputs.
        read: Returns the encoded file of a picture by its name.
    """
    examples = {}
    for index, label in enumerate(labels):
        correct = [answer for answer in answers if answer.label == label == answer.predicted]
        correct.sort(key=lambda answer: (answer.probabilities[label], answer.file))
        # From the median on: a file may have become unreadable since.
        for answer in correct[len(correct) // 2 :]:
            try:
                examples[example_name(index)] = _bare_copy(read(answer.file))
            except (OSError, PictureError):
                continue
            break
    return examples


def _bare_copy(data: bytes) -> bytes:
    """Return a picture as a small upright JPEG without metadata."""
    upright = OrientedImage(open_image(data), longest_px=_LONGEST_PX)
    width, height, pixels = upright.thumbnail(_LONGEST_PX)
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
