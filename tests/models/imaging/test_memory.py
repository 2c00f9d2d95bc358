"""Memory bounds, from the header alone."""

import pytest
from PIL import Image

from models.imaging.memory import decoding_bytes, largest_picture_bytes, searching_bytes
from models.imaging.open import open_image
from tests.images import encode
from tests.models.imaging.costly_pictures import tiff


def test_decoding_bytes_follow_from_the_header() -> None:
    picture = Image.new("RGB", (1024, 512))
    pixels = 1024 * 512

    def bytes_of(format: str, **options: bool) -> int:
        return decoding_bytes(open_image(encode(picture, format, **options)), 64)

    assert bytes_of("PNG") == 16 * pixels
    assert bytes_of("JPEG") == 16 * pixels // 64  # decoded at an eighth
    assert bytes_of("JPEG", progressive=True) == 16 * pixels // 64 + 6 * pixels
    assert decoding_bytes(open_image(tiff(tile=160)), 64) == 16 * 160 * 160


@pytest.mark.parametrize("edge", [1, 500, 1280, 3000, 3839, 3840, 5759, 5760, 7000, 9000])
def test_searching_bytes_never_exceed_those_of_the_largest_picture(edge: int) -> None:
    allowed = largest_picture_bytes(edge * edge)
    for smaller in (edge, edge * 3 // 4, edge // 2):
        image = open_image(encode(Image.new("1", (max(1, smaller),) * 2), "PNG"), max_pixels=10**9)
        assert searching_bytes(image) <= allowed
