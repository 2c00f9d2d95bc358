"""Label issues by confident learning."""

from typing import Any

import numpy as np
import pytest

from tests.training.audit.data_sets import kinds, make_feature_set, sound
from training.audit.findings import format_lines
from training.audit.label_issues import (
    LabelIssue,
    class_thresholds,
    confident_issues,
    find_label_issues,
)
from training.audit.run import audit


def test_class_thresholds_are_mean_self_confidence() -> None:
    chances = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    assert class_thresholds(chances, np.array([0, 0, 1])).tolist() == pytest.approx([0.8, 0.6])
    assert class_thresholds(chances, np.array([0, 0, 0]))[1] == 1.0


def test_confident_issues_ignores_uncertain_predictions() -> None:
    chances = np.array([[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5 + [[0.05, 0.95], [0.45, 0.55]])
    classes = np.array([0] * 5 + [1] * 5 + [0, 0])
    (found,) = confident_issues(chances, classes)
    assert found == LabelIssue(10, 0, 1, 0.05, 0.95)


def test_confident_issues_puts_most_certain_first() -> None:
    chances = np.array([[0.9, 0.1]] * 8 + [[0.1, 0.9]] * 8 + [[0.2, 0.8], [0.05, 0.95]])
    classes = np.array([0] * 8 + [1] * 8 + [0, 0])
    assert [issue.index for issue in confident_issues(chances, classes)] == [17, 16]


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
    found = find_label_issues(features, given, np.arange(150), num_classes=classes, folds=5, seed=0)
    assert sorted(issue.index for issue in found) == swapped
    assert all(issue.suggested == true[issue.index] for issue in found)
    assert (
        find_label_issues(features, true, np.arange(150), num_classes=classes, folds=5, seed=0)
        == []
    )


def test_find_label_issues_survives_class_of_issues_only() -> None:
    features, true = blobs(60, 2)
    given = true.copy()
    given[true == 1] = 0
    given[[0, 2, 4, 6]] = 1  # every label 1 is wrong
    found = find_label_issues(features, given, np.arange(60), num_classes=2, folds=2, seed=0)
    assert {issue.given for issue in found} <= {0, 1}


@pytest.mark.usefixtures("no_shortcuts")
def test_label_issue_is_reported_with_its_classes() -> None:
    stats, given = sound()
    found = audit(make_feature_set(stats, given), label_issues=[LabelIssue(1, 1, 0, 0.02, 0.98)])
    assert kinds(found) == {"suspect_labels": "warning"}
    assert format_lines(found)[-1] == "    dog/1.jpg: cat? (98%)"
    assert found[0].details["suspects"][0]["suggested"] == "cat"
