"""HEIC and AVIF whose colours are named by code points (nclx), without an ICC profile."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

from models.imaging.decode import OrientedImage, decode_image
from models.imaging.heif import colour
from models.imaging.heif.boxes import read_items
from models.imaging.open import open_image
from tests.images import encode, photograph
from tests.models.imaging.handmade import exchanged_profile
from tests.models.imaging.heif_files import box, coded, grid, heic, put_together

SRGB, BT2020, P3 = 1, 9, 12
# ITU-T H.273, table 2: x and y of red, green, blue and white.
CHROMATICITIES = {
    SRGB: ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), (0.3127, 0.329)),
    BT2020: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), (0.3127, 0.329)),
    11: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.314, 0.351)),
    P3: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329)),
}
STORED = (200, 90, 60)
PLAIN = Image.new("RGB", (64, 48), STORED)
PHOTOGRAPH = photograph(64, 48)


def adapted(primaries: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Return the matrix from linear colours to CIE XYZ under D50, by Bradford's method."""
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries)
    columns = np.array(colours).T
    matrix = columns * np.linalg.solve(columns, white)
    scale = (bradford @ np.array([0.9642, 1, 0.8249])) / (bradford @ white)
    found: NDArray[np.float64] = np.linalg.inv(bradford) @ np.diag(scale) @ bradford @ matrix
    return found


def shown(stored: Sequence[int], primaries: int) -> NDArray[np.float64]:
    """Return the sRGB colour of a stored one, clipped to the gamut."""
    value = np.array(stored) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz, from_xyz = adapted(CHROMATICITIES[primaries]), adapted(CHROMATICITIES[SRGB])
    light = np.clip(np.linalg.inv(from_xyz) @ to_xyz @ linear, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def code_points(
    primaries: int, transfer: int = 13, *, matrix: int = 6, full: bool = True
) -> dict[str, Any]:
    return {
        "color_primaries": primaries,
        "transfer_characteristics": transfer,
        "matrix_coefficients": matrix,
        "full_range_flag": int(full),
        "chroma": 444,
    }


def renamed(file: bytes, primaries: int, transfer: int = 13) -> bytes:
    """Return a file with other code points in its only property `nclx`."""
    at = file.index(b"colrnclx") + 8
    assert file.count(b"colrnclx") == 1
    return file[:at] + bytes([0, primaries, 0, transfer]) + file[at + 4 :]


def middle(file: bytes) -> NDArray[np.float64]:
    return decode_image(file, size=8)[:, 4, 4].double().numpy()


@pytest.mark.parametrize("full", [True, False], ids=["full-range", "limited-range"])
@pytest.mark.parametrize(("primaries", "matrix"), [(P3, 6), (P3, 12), (BT2020, 9), (SRGB, 1)])
def test_primaries_are_converted_to_srgb(primaries: int, matrix: int, full: bool) -> None:
    file = heic(PLAIN, quality=100, **code_points(primaries, matrix=matrix, full=full))
    assert middle(file) == pytest.approx(shown(STORED, primaries), abs=3)


def test_avif_is_converted_as_heic_is() -> None:
    file = renamed(encode(PLAIN, "AVIF", quality=100, subsampling="4:4:4"), P3)
    assert middle(file) == pytest.approx(shown(STORED, P3), abs=3)


def test_cut_out_parts_are_converted() -> None:
    file = heic(PLAIN, quality=100, **code_points(P3))
    part = OrientedImage(open_image(file), longest_px=64).cut((8, 8, 40, 40), 8)
    assert part[:, 4, 4].double().numpy() == pytest.approx(shown(STORED, P3), abs=3)


@pytest.mark.parametrize(
    ("primaries", "transfer"),
    [(SRGB, 13), (SRGB, 1), (SRGB, 6), (2, 2), (5, 6), (6, 6), (22, 13), (SRGB, 18)],
)
@pytest.mark.parametrize("write", [heic, lambda image: encode(image, "AVIF")], ids=["heic", "avif"])
def test_code_points_shown_as_srgb_change_no_bit(write: Any, primaries: int, transfer: int) -> None:
    file = write(PHOTOGRAPH)
    found = renamed(file, primaries, transfer)
    image = open_image(found)
    assert "icc_profile" not in image.info
    assert torch.equal(decode_image(found, size=32), decode_image(file, size=32))


def test_grey_keeps_its_values() -> None:
    grey = PHOTOGRAPH.convert("L")
    file = heic(grey)
    assert torch.equal(decode_image(renamed(file, P3), size=32), decode_image(file, size=32))


def test_embedded_profile_goes_before_code_points() -> None:
    profile = exchanged_profile()
    item = coded(heic(PHOTOGRAPH, icc_profile=profile))
    item.properties = [box(b"colr", b"nclx\0\x0c\0\x0d\0\x06\x80"), *item.properties]
    assert open_image(put_together([item])).info["icc_profile"] == profile


def test_tiles_may_have_the_property_of_their_grid() -> None:
    tile = coded(renamed(heic(Image.new("RGB", (64, 64), STORED), quality=100, chroma=444), P3))
    file = put_together([grid(1, 2, 128, 64), tile, tile], [(b"dimg", 1, (2, 3))])
    assert middle(file) == pytest.approx(shown(STORED, P3), abs=3)


# PQ: a diffuse white of 203 cd/m2 has 58 % of the signal, 100 cd/m2 have 50.8 % (ITU-R BT.2408).
@pytest.mark.parametrize(
    ("transfer", "signal", "light"),
    [(4, 0.5, 0.5**2.2), (5, 0.5, 0.5**2.8), (8, 0.5, 0.5), (16, 0.58, 1), (16, 0.508, 100 / 203),
     (16, 1, 1), (16, 0, 0)],
)  # fmt: skip
def test_other_transfer_functions_are_converted(transfer: int, signal: float, light: float) -> None:
    profile = colour._profile(SRGB, transfer)
    assert profile is not None
    grey = Image.new("RGB", (1, 1), (round(255 * signal),) * 3)
    found = ImageCms.profileToProfile(
        grey, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    assert found is not None
    expected = 1.055 * light ** (1 / 2.4) - 0.055 if light else 0
    assert np.asarray(found)[0, 0] == pytest.approx(255 * expected, abs=2)


@pytest.mark.parametrize("primaries", CHROMATICITIES)
def test_colorants_follow_from_the_standard(primaries: int) -> None:
    expected = adapted(CHROMATICITIES[primaries]).T
    assert np.allclose(colour._COLORANTS[primaries], expected, atol=1e-5)


def test_property_cut_short_has_no_profile() -> None:
    item = coded(heic(PLAIN, save_nclx_profile=False))
    item.properties = [*item.properties, box(b"colr", b"nclx\0\x0c")]
    file = put_together([item])
    assert colour.profile_of(file, read_items(file)) is None


def test_pillow_heif_writes_what_the_tests_need() -> None:
    written = pillow_heif.open_heif(heic(PLAIN, **code_points(P3, full=False)))
    found = written.info["nclx_profile"]
    assert (found["color_primaries"], found["full_range_flag"]) == (P3, 0)
