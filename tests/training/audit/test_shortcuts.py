"""Shortcuts: statistics that predict a class."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import training.audit.shortcuts
from tests.training.audit.data_sets import (
    make_feature_set,
    make_stats,
    only,
    sound,
)
from training.audit.run import audit
from training.audit.shortcuts import FAMILIES, find_shortcuts, find_word_shortcuts
from training.errors import TooFewPictures


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


def test_find_shortcuts_skips_small_classes_and_few_groups() -> None:
    stats = [make_stats(n, format=("PNG", "JPEG")[n % 2]) for n in range(60)]
    classes = np.arange(60) % 2
    few = find_shortcuts(stats[:30], classes[:30], np.arange(30), num_classes=2)
    one_group_a_class = find_shortcuts(stats, classes, classes, num_classes=2)
    assert few == one_group_a_class == []
    assert find_shortcuts(stats, classes, np.arange(60), num_classes=2)[1].is_warning


def test_shortcut_findings_without_folds_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise TooFewPictures("The groups are too large.")

    monkeypatch.setattr(training.audit.shortcuts, "find_shortcuts", refuses)
    assert audit(make_feature_set(*sound())) == []


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


def test_random_formats_are_no_shortcut() -> None:
    random, alarms = np.random.default_rng(0), 0
    for _ in range(40):
        formats = random.choice(["PNG", "JPEG", "WEBP"], size=60)
        stats = [make_stats(n, format=str(name)) for n, name in enumerate(formats)]
        alarms += bool(find_word_shortcuts(stats, np.arange(60) % 2, np.arange(60), num_classes=2))
    assert alarms <= 1


def test_classes_that_are_too_small_are_named() -> None:
    found = audit(make_feature_set(*sound(36, 3), labels=("cat", "dog", "emu")), min_pictures=1)
    one = only(found, "shortcuts_not_checked")
    assert (one.level, one.details["classes"]) == ("info", ["cat", "dog", "emu"])
    assert "too few" in one.message
