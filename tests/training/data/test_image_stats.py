"""Statistics of a picture, measured on the pixels that the model sees."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from models.errors import EmptyPicture, UnsupportedFormat
from models.imaging.decode import decode_image
from tests.images import encode, photograph
from training.data.image_stats import ImageStats, decode_and_measure


def test_decode_and_measure_returns_the_decoder_s_pixels() -> None:
    data = encode(photograph(90, 70), "JPEG")
    assert torch.equal(decode_and_measure(data, size=32)[0], decode_image(data, size=32))


def test_stats_describe_the_file() -> None:
    data = encode(photograph(90, 70).convert("L"), "JPEG")
    stats = decode_and_measure(data, size=32)[1]
    assert stats.sha256 == hashlib.sha256(data).hexdigest()
    assert (stats.file_bytes, stats.width_px, stats.height_px) == (len(data), 90, 70)
    assert (stats.format, stats.mode) == ("JPEG", "L")


@pytest.mark.parametrize(
    ("colour", "brightness", "channels"),
    [
        ((255, 255, 255), 1.0, (1.0, 1.0, 1.0)),
        ((0, 0, 0), 0.0, (0.0, 0.0, 0.0)),
        ((255, 0, 0), 0.299, (1.0, 0.0, 0.0)),
        ((0, 0, 255), 0.114, (0.0, 0.0, 1.0)),
    ],
)
def test_stats_of_plain_picture(
    colour: tuple[int, int, int], brightness: float, channels: tuple[float, ...]
) -> None:
    stats = decode_and_measure(encode(Image.new("RGB", (20, 20), colour)), size=16)[1]
    assert stats.brightness == pytest.approx(brightness, abs=0.003)
    assert (stats.red, stats.green, stats.blue) == pytest.approx(channels, abs=0.003)
    assert stats.contrast == pytest.approx(0.0, abs=1e-6)
    assert stats.sharpness == pytest.approx(0.0, abs=1e-6)


def test_blur_lowers_sharpness() -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    blurred = noise.filter(ImageFilter.GaussianBlur(3))
    assert (
        decode_and_measure(encode(blurred), size=64)[1].sharpness
        < decode_and_measure(encode(noise), size=64)[1].sharpness / 100
    )


def test_mirrored_picture_swaps_hashes() -> None:
    drawn = photograph(64, 64)
    mirrored = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    plain, other = (decode_and_measure(encode(image), size=64)[1] for image in (drawn, mirrored))
    assert (plain.dhash, plain.dhash_mirrored) == (other.dhash_mirrored, other.dhash)
    assert len(plain.dhash) == 64


def test_stats_round_trip_through_json() -> None:
    stats = decode_and_measure(encode(photograph()), size=16)[1]
    assert ImageStats.from_json(stats.to_json()) == stats


@pytest.mark.parametrize(("data", "error"), [(b"", EmptyPicture), (b"text", UnsupportedFormat)])
def test_decode_and_measure_raises_on_undecodable_file(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_and_measure(data, size=16)
