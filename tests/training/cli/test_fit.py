"""The closing box of `fit`."""

import pytest

from training.cli.fit import _answers_line


@pytest.mark.parametrize(
    ("coverage", "threshold", "line"),
    [
        (1.0, 0.5, "every such picture gets a class"),
        (
            0.95,
            0.99961,
            '95.0% of such pictures get a class; the others are "uncertain" (score below >99.9%)',
        ),
        (
            0.15,
            0.9,
            '15.0% of such pictures get a class; the others are "uncertain" (score below 90.0%); '
            "more pictures help, or right labels: see what it gets wrong in the report",
        ),
    ],
)
def test_box_says_how_many_pictures_get_a_class(
    coverage: float, threshold: float, line: str
) -> None:
    assert _answers_line({"coverage": coverage, "threshold": threshold}) == line
