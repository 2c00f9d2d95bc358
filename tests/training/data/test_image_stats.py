"""Facts of a picture, told of the very pixels that the model sees."""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from models.errors import EmptyPicture, UnsupportedFormat
from models.imaging.decode import decode_image
from tests.images import encode, photograph
from training.data.image_stats import PictureFacts, measure


def test_the_pixels_are_the_decoder_s() -> None:
    data = encode(photograph(90, 70), "JPEG")
    assert torch.equal(measure(data, size=32)[0], decode_image(data, size=32))


def test_the_file_is_described() -> None:
    data = encode(photograph(90, 70).convert("L"), "JPEG")
    facts = measure(data, size=32)[1]
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert (facts.file_bytes, facts.width_px, facts.height_px) == (len(data), 90, 70)
    assert (facts.format, facts.mode) == ("JPEG", "L")


@pytest.mark.parametrize(
    ("colour", "brightness", "channels"),
    [
        ((255, 255, 255), 1.0, (1.0, 1.0, 1.0)),
        ((0, 0, 0), 0.0, (0.0, 0.0, 0.0)),
        ((255, 0, 0), 0.299, (1.0, 0.0, 0.0)),
        ((0, 0, 255), 0.114, (0.0, 0.0, 1.0)),
    ],
)
def test_a_plain_picture_is_as_bright_as_its_luma_and_has_no_contrast(
    colour: tuple[int, int, int], brightness: float, channels: tuple[float, ...]
) -> None:
    facts = measure(encode(Image.new("RGB", (20, 20), colour)), size=16)[1]
    assert facts.brightness == pytest.approx(brightness, abs=0.003)
    assert (facts.red, facts.green, facts.blue) == pytest.approx(channels, abs=0.003)
    assert facts.contrast == pytest.approx(0.0, abs=1e-6)
    assert facts.sharpness == pytest.approx(0.0, abs=1e-6)


def test_blur_lowers_sharpness() -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    blurred = noise.filter(ImageFilter.GaussianBlur(3))
    assert (
        measure(encode(blurred), size=64)[1].sharpness
        < measure(encode(noise), size=64)[1].sharpness / 100
    )


def test_the_mirror_image_swaps_the_hashes() -> None:
    drawn = photograph(64, 64)
    mirrored = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    plain, other = (measure(encode(image), size=64)[1] for image in (drawn, mirrored))
    assert (plain.dhash, plain.dhash_mirrored) == (other.dhash_mirrored, other.dhash)
    assert len(plain.dhash) == 64


def test_facts_survive_the_cache_s_json() -> None:
    facts = measure(encode(photograph()), size=16)[1]
    assert PictureFacts(**json.loads(json.dumps(facts.as_dict()))) == facts


@pytest.mark.parametrize(("data", "error"), [(b"", EmptyPicture), (b"text", UnsupportedFormat)])
def test_what_cannot_be_decoded_has_no_facts(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        measure(data, size=16)
