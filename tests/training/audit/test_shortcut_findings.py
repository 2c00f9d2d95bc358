"""Findings of shortcuts and their messages."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.training.audit.data_sets import make_feature_set, make_stats, only, sound
from training.audit.run import audit
from training.audit.shortcuts import FAMILIES


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("size", {"width_px": 250}),
        ("file", {"format": "JPEG"}),
        ("sharpness", {"fineness": 0.01}),
        ("light", {"lightest": 0.7}),
        ("colour", {"blue": 0.9}),
    ],
)
def test_statistic_that_predicts_class_is_warning(family: str, change: dict[str, Any]) -> None:
    stats, given = sound()
    stats = [
        make_stats(n, **change) if k else one
        for n, (one, k) in enumerate(zip(stats, given, strict=True))
    ]
    found = audit(make_feature_set(stats, given))
    shortcut = only(found, f"shortcut_{family}")
    assert shortcut.level == "warning"
    assert " 'cat' from 'dog' in 100% of pictures" in shortcut.message
    assert "?" in shortcut.message
    low, high = shortcut.details["balanced_accuracy_interval_95"]
    assert 0.9 < low < high <= 1.0
    assert shortcut.names == ()
    related = {"size": {"sharpness", "file"}}.get(family, set())
    assert {f.kind for f in found} <= {f"shortcut_{name}" for name in {family} | related}


def test_all_families_are_tested() -> None:
    (mark,) = test_statistic_that_predicts_class_is_warning.pytestmark
    assert {row[0] for row in mark.args[1]} == set(FAMILIES)


def test_shortcut_of_one_class_among_three_is_found() -> None:
    stats, given = sound(180, 3)
    stats = [make_stats(n, format="PNG" if k == 1 else "JPEG") for n, k in enumerate(given)]
    found = audit(make_feature_set(stats, given, labels=("cat", "dog", "emu")))
    assert [finding.details["class"] for finding in found] == ["dog"]
    assert "'dog' from the rest" in found[0].message


def test_weak_difference_is_no_shortcut() -> None:
    random = np.random.default_rng(0)
    stats, given = sound()
    stats = [
        dataclasses.replace(one, brightness=0.5 + 0.05 * k + random.normal(0, 0.1))
        for one, k in zip(stats, given, strict=True)
    ]
    assert audit(make_feature_set(stats, given)) == []


@pytest.mark.parametrize(("share", "warned"), [(0.6, True), (0.1, False)])
def test_format_of_a_part_of_a_class_is_warning(share: float, warned: bool) -> None:
    stats, given = sound(160)
    stats = [
        make_stats(n, format="PNG" if k == 0 and n // 2 % 10 < 10 * share else "JPEG")
        for n, k in enumerate(given)
    ]
    found = audit(make_feature_set(stats, given))
    assert [finding.kind for finding in found] == (["shortcut_file"] if warned else [])
    if warned:
        assert "60% of 'cat' have format PNG, and 0% of 'dog'" in found[0].message


def test_classes_that_are_too_small_are_named() -> None:
    found = audit(make_feature_set(*sound(36, 3), labels=("cat", "dog", "emu")), min_pictures=1)
    one = only(found, "shortcuts_not_checked")
    assert (one.level, one.details["classes"]) == ("info", ["cat", "dog", "emu"])
    assert "too few" in one.message


def test_small_class_among_large_ones_is_named() -> None:
    given = [0] * 60 + [1] * 60 + [2] * 5
    stats = [make_stats(n) for n in range(len(given))]
    found = audit(make_feature_set(stats, given, labels=("cat", "dog", "emu")), min_pictures=1)
    one = only(found, "shortcuts_not_checked")
    assert one.details["classes"] == ["emu"]
    assert "'emu' alone, only with other classes: too few" in one.message


@pytest.mark.parametrize(
    ("num_classes", "inside"), [(4, "'a' and 'c'"), (14, "'a', 'c', 'e', 'g', 'i' and 2 more")]
)
def test_message_names_the_classes_of_one_camera(num_classes: int, inside: str) -> None:
    given = [n % num_classes for n in range(40 * num_classes)]
    stats = [make_stats(n, blue=0.5 + 0.4 * (k % 2)) for n, k in enumerate(given)]
    labels = tuple("abcdefghijklmn"[:num_classes])
    one = only(audit(make_feature_set(stats, given, labels=labels)), "shortcut_colour")
    assert f"{inside} from the rest in 100% of pictures" in one.message
    assert "guessing gives 50 %" in one.message
    assert (one.details["class"], one.details["classes"]) == ("a", list(labels[::2]))
