"""Findings on single pictures."""

from typing import Any

import pytest
from PIL import Image, ImageFilter

from tests.training.audit.data_sets import (
    drawn,
    kinds,
    make_feature_set,
    make_stats,
    measure,
    sound,
)
from training.audit.quality import CHECKS
from training.audit.run import audit


@pytest.mark.usefixtures("no_shortcuts")
@pytest.mark.parametrize(
    ("kind", "level", "odd", "fine"),
    [
        ("tiny", "warning", {"width_px": 63, "height_px": 90}, {"width_px": 64, "height_px": 90}),
        (
            "huge",
            "info",
            {"width_px": 6000, "height_px": 5000},
            {"width_px": 5000, "height_px": 5000},
        ),
        ("odd_aspect", "warning", {"width_px": 910}, {"width_px": 900}),
        (
            "dark",
            "warning",
            {"brightness": 0.05, "lightest": 0.2},
            {"brightness": 0.05, "lightest": 0.9},
        ),
        (
            "bright",
            "warning",
            {"brightness": 0.95, "darkest": 0.8},
            {"brightness": 0.95, "darkest": 0.1},
        ),
        (
            "blurred",
            "warning",
            {"sharpness": 1e-6},
            {"sharpness": 1e-6, "width_px": 150, "height_px": 150},
        ),
        ("not_rgb", "info", {"mode": "CMYK"}, {"mode": "RGB"}),
        ("blank", "warning", {"contrast": 0.01}, {"contrast": 0.1}),
    ],
)
def test_check_reports_picture_beyond_limit_only(
    kind: str, level: str, odd: dict[str, Any], fine: dict[str, Any]
) -> None:
    stats, given = sound()
    stats[4], stats[5] = make_stats(4, **odd), make_stats(5, **fine)
    found = audit(make_feature_set(stats, given))
    assert kinds(found) == {kind: level}
    assert found[0].names == ("cat/4.jpg",)
    assert found[0].message.startswith("1 picture is ")


def test_all_checks_are_tested() -> None:
    mark = test_check_reports_picture_beyond_limit_only.pytestmark[0]
    assert {row[0] for row in mark.args[1]} == {check.kind for check in CHECKS}


@pytest.mark.usefixtures("no_shortcuts")
def test_common_check_is_info() -> None:
    stats = [make_stats(n, width_px=32, height_px=32) for n in range(120)]
    found = audit(make_feature_set(stats, [n % 2 for n in range(120)]))
    assert kinds(found) == {"tiny": "info"}
    assert "it may be how the set is" in found[0].message


def test_blurred_check_separates_blurred_from_sharp() -> None:
    sharp = drawn(1, edge=256)
    blurred = sharp.filter(ImageFilter.GaussianBlur(6))
    test = next(check.test for check in CHECKS if check.kind == "blurred")
    assert [test(one) for one in measure(sharp, blurred, size=224)] == [False, True]


def test_fineness_of_enlarged_picture_is_low() -> None:
    picture = drawn(1)
    enlarged = picture.resize((48, 48)).resize((96, 96), Image.Resampling.BICUBIC)
    native, coarse = measure(picture, enlarged, size=96)
    assert coarse.fineness < native.fineness / 3
    assert 0 <= native.darkest < native.lightest <= 1
