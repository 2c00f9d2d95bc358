"""Findings on exact and near copies."""

import pytest
from PIL import Image

from tests.training.audit.data_sets import (
    PLAIN,
    kinds,
    make_feature_set,
    make_stats,
    measure,
    only,
    sound,
)
from training.audit.copies import find_exact_copies
from training.audit.findings import format_lines
from training.audit.run import audit
from training.data.image_stats import ImageStats


@pytest.mark.usefixtures("no_shortcuts")
def test_exact_copies_are_warning_within_class_and_error_across() -> None:
    stats, given = sound()
    stats[2] = stats[4] = stats[0]
    stats[3] = stats[8]
    found = audit(make_feature_set(stats, given))
    assert kinds(found) == {
        "exact_duplicates_across_classes": "error",
        "exact_duplicates": "warning",
    }
    assert only(found, "exact_duplicates").groups == (("cat/0.jpg", "cat/2.jpg", "cat/4.jpg"),)
    assert only(found, "exact_duplicates_across_classes").groups == (("dog/3.jpg", "cat/8.jpg"),)
    assert find_exact_copies(stats) == [(0, 2, 4), (3, 8)]
    assert "    cat/0.jpg = cat/2.jpg = cat/4.jpg" in format_lines(found)


@pytest.mark.usefixtures("no_shortcuts")
def test_near_copies_are_warning_within_class_and_error_across() -> None:
    stats, given = sound()

    def similar(index: int, other: int) -> ImageStats:
        first = stats[other]
        hashes = {"dhash": first.dhash, "dhash_mirrored": first.dhash_mirrored}
        return make_stats(index, **hashes, brightness=first.brightness)

    stats[5], stats[6], stats[9] = similar(5, 0), similar(6, 0), similar(9, 3)
    found = audit(make_feature_set(stats, given))
    assert kinds(found) == {
        "near_duplicates_across_classes": "error",
        "near_duplicates": "warning",
    }
    assert only(found, "near_duplicates").groups == (("dog/3.jpg", "dog/9.jpg"),)
    across = only(found, "near_duplicates_across_classes")
    assert across.groups == (("cat/0.jpg", "dog/5.jpg", "cat/6.jpg"),)
    assert across.details["labels"] == [["cat", "dog"]]


@pytest.mark.usefixtures("no_shortcuts")
def test_blank_pictures_are_not_near_duplicates() -> None:
    black, grey = Image.new("RGB", (80, 80)), Image.new("RGB", (80, 80), (9, 9, 9))
    dotted = black.copy()
    dotted.putpixel((5, 5), (255, 255, 255))
    stats, given = sound()
    stats[:3] = measure(black, grey, dotted)
    assert all(one.is_blank for one in stats[:3])
    assert not PLAIN.is_blank
    assert kinds(audit(make_feature_set(stats, given))) == {"blank": "warning"}
