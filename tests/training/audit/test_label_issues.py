"""Label issues: disagreements of the model beyond what overlap explains."""

from typing import Any

import numpy as np
import pytest

from tests.training.audit.data_sets import kinds, make_feature_set, sound
from training.audit.findings import format_lines
from training.audit.label_issues import (
    LabelIssue,
    LabelIssues,
    calibrate_with_wrong_labels,
    find_label_issues,
    judge_labels,
)
from training.audit.run import audit


def overlapping(num_pictures: int, seed: int, distance: float = 2.07) -> tuple[Any, Any]:
    """Draw two classes of which the best rule has 85 % correct, by default."""
    random = np.random.default_rng(seed)
    classes = np.arange(num_pictures) % 2
    features = random.normal(size=(num_pictures, 16))
    features[:, 0] += distance * classes
    return features.astype(np.float32), classes


def issues_of(features: Any, labels: Any, groups: Any = None) -> LabelIssues:
    groups = np.arange(len(labels)) if groups is None else groups
    return find_label_issues(features, labels, groups, folds=5, seed=0)


def test_overlapping_classes_without_swaps_have_hardly_any_issues() -> None:
    accused, disagreements, expected = 0, 0, 0.0
    for seed in range(5):
        found = issues_of(*overlapping(360, seed))
        accused += len(found.found)
        disagreements += found.disagreements
        expected += found.expected_disagreements
    assert accused <= 0.02 * 5 * 360
    assert disagreements > 0.1 * 5 * 360
    assert expected == pytest.approx(disagreements, rel=0.25)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_swapped_labels_of_separated_classes_are_found(share: float) -> None:
    found = honest = swapped = 0
    for seed in range(3):
        features, classes = overlapping(360, seed, distance=8)
        labels = classes.copy()
        chosen = np.random.default_rng(seed).choice(360, round(share * 360), replace=False)
        labels[chosen] = 1 - labels[chosen]
        issues = {issue.index for issue in issues_of(features, labels).found}
        found += len(issues & set(chosen.tolist()))
        honest += len(issues - set(chosen.tolist()))
        swapped += len(chosen)
    assert found >= 0.97 * swapped
    assert honest <= 3


@pytest.mark.parametrize("kind", ["constant", "noise", "one class of 20", "five groups"])
def test_uninformative_features_have_no_issues(kind: str) -> None:
    random = np.random.default_rng(0)
    classes = np.arange(120) % 2
    features = random.normal(size=(420, 16)).astype(np.float32)
    groups = np.arange(120)
    if kind == "constant":
        features = np.ones((420, 16), dtype=np.float32)
    if kind == "one class of 20":
        classes, groups = np.arange(420) // 400, np.arange(420)
    if kind == "five groups":
        classes = np.arange(120) // 60
        groups = np.where(classes == 0, np.arange(120) // 12, np.arange(120))
        features = features + random.normal(size=(420, 16)).astype(np.float32)[np.arange(420) // 12]
    assert issues_of(features[: len(classes)], classes, groups) == LabelIssues()


def test_calibration_separates_scale_and_wrong_labels() -> None:
    random = np.random.default_rng(0)
    logits = np.outer(random.normal(0, 4, size=4000), [-1, 1])
    classes = (random.random(4000) < 1 / (1 + np.exp(-2 * 0.5 * logits[:, 1]))).astype(np.int64)
    scale, wrong_share = calibrate_with_wrong_labels(logits, classes)
    assert scale == pytest.approx(0.5, rel=0.15)
    assert wrong_share < 0.01
    swapped = np.where(random.random(4000) < 0.08, 1 - classes, classes)
    scale, wrong_share = calibrate_with_wrong_labels(logits, swapped)
    assert scale == pytest.approx(0.5, rel=0.15)
    assert wrong_share == pytest.approx(0.08, abs=0.015)


def test_judge_labels_puts_most_certain_first() -> None:
    logits = np.array([[9.0, -9.0]] * 90 + [[-9.0, 9.0]] * 90 + [[-7.0, 7.0], [-9.0, 9.0]])
    classes = np.array([0] * 90 + [1] * 90 + [0, 0])
    found = judge_labels(logits, classes, np.arange(182))
    assert [issue.index for issue in found.found] == [181, 180]
    assert {(issue.given, issue.suggested) for issue in found.found} == {(0, 1)}
    assert found.disagreements == 2


def blobs(count: int, classes: int) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    given = np.arange(count) % classes
    centres = np.eye(classes, 8) * 4
    return (centres[given] + random.normal(0, 0.7, (count, 8))).astype(np.float32), given


@pytest.mark.parametrize("classes", [2, 3])
def test_find_label_issues_finds_swapped_labels(classes: int) -> None:
    features, true = blobs(150, classes)
    given = true.copy()
    swapped = [3, 31, 62, 77, 100]
    given[swapped] = (true[swapped] + 1) % classes
    found = issues_of(features, given).found
    assert sorted(issue.index for issue in found) == swapped
    assert all(issue.suggested == true[issue.index] for issue in found)
    assert issues_of(features, true).found == []


def test_confirmed_labels_are_no_issues() -> None:
    features, classes = overlapping(200, 0, distance=8)
    labels = classes.copy()
    swapped = [3, 40, 77, 120]
    labels[swapped] = 1 - labels[swapped]
    found = {issue.index for issue in issues_of(features, labels).found}
    assert found == set(swapped)
    confirmed = np.isin(np.arange(200), [40])
    issues = find_label_issues(
        features, labels, np.arange(200), folds=5, seed=0, confirmed=confirmed
    )
    assert {issue.index for issue in issues.found} == {3, 77, 120}


def test_find_label_issues_survives_class_of_issues_only() -> None:
    features, true = blobs(60, 2)
    given = true.copy()
    given[true == 1] = 0
    given[[0, 2, 4, 6]] = 1  # every label 1 is wrong
    found = find_label_issues(features, given, np.arange(60), folds=2, seed=0)
    assert {issue.given for issue in found.found} <= {0, 1}


@pytest.mark.usefixtures("no_shortcuts")
def test_label_issue_is_reported_with_its_classes() -> None:
    stats, given = sound()
    issues = LabelIssues([LabelIssue(1, 1, 0, 0.02, 0.98)], 4, 2.6)
    found = audit(make_feature_set(stats, given), label_issues=issues)
    assert kinds(found) == {"suspect_labels": "warning"}
    assert format_lines(found)[-1] == "    dog/1.jpg: cat? (98%)"
    assert found[0].details["suspects"][0]["suggested"] == "cat"
    assert "of 4 disagreements it explains about 3" in found[0].message
    assert "move" not in found[0].message
    assert (found[0].details["disagreements"], found[0].details["expected_disagreements"]) == (
        4,
        2.6,
    )
