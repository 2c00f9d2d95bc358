"""Colour profiles: a picture has the pixels that a viewer shows."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

from models.imaging.colour import to_srgb
from models.imaging.decode import decode_image
from models.imaging.faces import cut_face, open_oriented
from tests.images import encode, photograph
from tests.models.imaging.handmade import exchanged_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PHOTOGRAPH = photograph(64, 64)


EXCHANGED = exchanged_profile()


def _stored() -> Image.Image:
    """Return the colours of `PHOTOGRAPH` as the other profile stores them, without a profile."""
    other = ImageCms.ImageCmsProfile(io.BytesIO(EXCHANGED))
    image = ImageCms.profileToProfile(PHOTOGRAPH, ImageCms.createProfile("sRGB"), other)
    assert image is not None
    return Image.frombytes(image.mode, image.size, image.tobytes())


STORED = _stored()


def pixels(image: Image.Image, kind: str = "PNG", **options: Any) -> Tensor:
    return decode_image(encode(image, kind, **options), size=32).float()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 98, "subsampling": 0}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_profile_is_converted_to_srgb(kind: str, options: dict[str, Any]) -> None:
    found = pixels(STORED, kind, icc_profile=EXCHANGED, **options)
    assert float((found - pixels(PHOTOGRAPH)).abs().mean()) < 1.5
    assert float((found - pixels(STORED)).abs().mean()) > 5


def test_profile_is_converted_below_an_alpha_channel() -> None:
    clear = STORED.copy()
    clear.putalpha(128)
    expected = PHOTOGRAPH.copy()
    expected.putalpha(128)
    found = pixels(clear, icc_profile=EXCHANGED)
    assert float((found - pixels(expected)).abs().mean()) < 1.5


def test_profile_is_converted_in_cut_faces() -> None:
    found = cut_face(open_oriented(encode(STORED, icc_profile=EXCHANGED)), None, 32).float()
    assert float((found - pixels(PHOTOGRAPH)).abs().mean()) < 1.5


@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        b"anything" * 40,
        EXCHANGED[:200],
        EXCHANGED.replace(b"RGB ", b"GRAY", 1),
        EXCHANGED.replace(b"RGB ", b"CMYK", 1),
        EXCHANGED + bytes(2**20),
    ],
    ids=["srgb", "no-profile", "cut-short", "grey", "cmyk", "too-large"],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_other_profiles_change_nothing(mode: str, profile: bytes) -> None:
    image = PHOTOGRAPH.convert(mode)
    assert to_srgb(image, profile) is image or to_srgb(image, profile).mode == "RGB"
    if mode == "RGB":
        assert torch.equal(pixels(image, icc_profile=profile), pixels(image))


def test_grey_picture_keeps_its_pixels_below_a_profile_for_rgb() -> None:
    grey = PHOTOGRAPH.convert("L")
    found = pixels(grey, "JPEG", icc_profile=EXCHANGED)
    assert torch.equal(found, pixels(grey, "JPEG"))


def test_threads_convert_alike() -> None:
    expected = to_srgb(STORED, EXCHANGED).tobytes()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: to_srgb(STORED, EXCHANGED).tobytes(), range(40)))
    assert set(found) == {expected}
