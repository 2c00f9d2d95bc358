"""Accuracy by slice: counted rightly, small ones said to be small, gaps honest."""

import dataclasses

import numpy as np
import pytest

from training.config import FitConfig
from training.evaluation.slices import MAX_INTERVAL_WIDTH, slice_metrics

CONFIG = dataclasses.replace(FitConfig(), draws=4000)
LABELS = ("cat", "dog")


def pictures(*parts: tuple[str, int, int]) -> tuple[np.ndarray, list[str]]:
    """Right or wrong, and slice, of parts of (name, right, wrong)."""
    right = [hit for _, good, bad in parts for hit in [True] * good + [False] * bad]
    return np.array(right), [name for name, good, bad in parts for _ in range(good + bad)]


def test_slice_metrics_of_one_slice() -> None:
    right, names = pictures(("day", 45, 5), ("night", 30, 20), ("", 7, 3))
    classes = np.tile([0, 1], 55)
    (found,) = slice_metrics(
        right, classes, np.arange(110), LABELS, {"light": names}, config=CONFIG
    )
    assert found["attribute"] == "light"
    night, day = found["slices"]  # the worst first
    assert (night["name"], night["pictures"], night["right"]) == ("night", 50, 30)
    assert (day["name"], day["accuracy"]) == ("day", pytest.approx(0.9))
    low, high = night["accuracy_interval_95"]
    assert low == pytest.approx(0.462, abs=0.01)  # Jeffreys of 30 of 50
    assert high == pytest.approx(0.727, abs=0.01)
    assert set(night["recall"]) == set(LABELS)
    assert night["recall"]["cat"] == pytest.approx(right[50:100][classes[50:100] == 0].mean())
    assert not slice_metrics(right, classes, np.arange(110), LABELS, {}, config=CONFIG)


def test_gap_interval_excludes_zero_only_if_the_gap_is_significant() -> None:
    right, names = pictures(("day", 198, 2), ("night", 150, 50))
    plain = np.zeros(400, dtype=np.int64)
    (found,) = slice_metrics(right, plain, np.arange(400), LABELS, {"light": names}, config=CONFIG)
    gap = found["gap"]
    assert (gap["worst"], gap["best"]) == ("night", "day")
    assert gap["difference"] == pytest.approx(0.24)
    assert 0.15 < gap["difference_interval_95"][0] < 0.24 < gap["difference_interval_95"][1] < 0.33
    right, names = pictures(("day", 196, 4), ("night", 195, 5))
    (found,) = slice_metrics(right, plain, np.arange(400), LABELS, {"light": names}, config=CONFIG)
    assert found["gap"]["difference_interval_95"][0] < 0


def test_gap_interval_widens_with_the_number_of_slices() -> None:
    two = pictures(("a", 190, 10), ("b", 170, 30))
    many = pictures(("a", 190, 10), ("b", 170, 30), *((f"c{k}", 180, 20) for k in range(6)))
    widths = []
    for right, names in (two, many):
        count = len(names)
        (found,) = slice_metrics(
            right, np.zeros(count, int), np.arange(count), LABELS, {"of": names}, config=CONFIG
        )
        assert (found["gap"]["worst"], found["gap"]["best"]) == ("b", "a")
        low, high = found["gap"]["difference_interval_95"]
        widths.append(high - low)
    assert widths[1] > 1.3 * widths[0]


def test_small_slices_are_marked_and_left_out_of_the_gap() -> None:
    right, names = pictures(("day", 95, 5), ("night", 90, 10), ("fog", 1, 4))
    plain = np.zeros(len(names), dtype=np.int64)
    (found,) = slice_metrics(
        right, plain, np.arange(len(names)), LABELS, {"light": names}, config=CONFIG
    )
    assert [(row["name"], row["small"]) for row in found["slices"]] == [
        ("fog", True),
        ("night", False),
        ("day", False),
    ]
    assert found["gap"]["worst"] == "night"
    for row in found["slices"]:
        low, high = row["accuracy_interval_95"]
        assert row["small"] == (high - low > MAX_INTERVAL_WIDTH)
    right, names = pictures(("day", 95, 5), ("fog", 1, 4))
    (found,) = slice_metrics(
        right, np.zeros(105, int), np.arange(105), LABELS, {"light": names}, config=CONFIG
    )
    assert found["gap"] is None


def test_pictures_of_one_group_widen_the_interval() -> None:
    right, names = pictures(("day", 90, 10))
    plain = np.zeros(100, dtype=np.int64)
    rows = [
        slice_metrics(right, plain, groups, LABELS, {"light": names}, config=CONFIG)[0]["slices"][0]
        for groups in (np.arange(100), np.arange(100) // 20)
    ]
    assert [row["groups"] for row in rows] == [100, 5]
    assert [row["small"] for row in rows] == [False, True]
