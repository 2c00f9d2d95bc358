"""Metrics and their intervals, against scikit-learn and by hand."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)

from training.config import FitConfig
from training.evaluation.calibration import calibration_error
from training.evaluation.head import softmax
from training.evaluation.metrics import (
    classification_metrics,
    confidence_metrics,
    risk_coverage_area,
)

CONFIG = dataclasses.replace(FitConfig(), penalties=(0.03, 0.3), draws=4000)


def summary(
    answers: Sequence[int],
    classes: Sequence[int],
    groups: Sequence[int] | None = None,
    num_classes: int = 2,
) -> dict[str, Any]:
    truth = np.array(classes, dtype=np.int64)
    return classification_metrics(
        np.eye(num_classes)[np.array(answers)],
        truth,
        np.arange(len(truth)) if groups is None else np.array(groups),
        [f"c{k}" for k in range(num_classes)],
        config=CONFIG,
    )


def test_classification_metrics_by_hand() -> None:
    found = summary([0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1])
    assert found["pictures"] == found["groups"] == 6
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["recall"] == {"c0": 0.75, "c1": 0.5}
    assert found["precision"] == {"c0": 0.75, "c1": 0.5}
    assert found["confusion"] == [[3, 1], [1, 1]]


def test_precision_is_the_share_of_correct_answers_given() -> None:
    classes, answers = [0, 0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 1, 1, 1]
    found = summary(answers, classes, num_classes=3)
    wanted = precision_score(classes, answers, average=None, zero_division=0.0)
    assert found["precision"] == {"c0": wanted[0], "c1": pytest.approx(wanted[1])}
    assert found["precision"]["c1"] == pytest.approx(2 / 6)
    assert found["recall"] == {"c0": 0.25, "c1": 1.0, "c2": 0.0}
    assert set(found["precision_interval_95"]) == {"c0", "c1"}  # nothing was predicted as c2


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_classification_metrics_agree_with_scikit_learn(num_classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, num_classes, 120)
    probabilities = softmax(random.normal(size=(120, num_classes)) + np.eye(num_classes)[classes])
    labels = [f"c{k}" for k in range(num_classes)]
    found = classification_metrics(
        probabilities, classes, np.arange(120) // 2, labels, config=CONFIG
    )
    answers = probabilities.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(classes, answers))
    assert found["mean_score"] == pytest.approx(probabilities.max(axis=1).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(classes, answers))
    assert found["confusion"] == confusion_matrix(classes, answers).tolist()
    for name, score in (("precision", precision_score), ("recall", recall_score)):
        assert list(found[name]) == labels
        assert list(found[name].values()) == pytest.approx(score(classes, answers, average=None))
    area = (
        roc_auc_score(classes, probabilities[:, 1])
        if num_classes == 2
        else roc_auc_score(classes, probabilities, multi_class="ovr", average="macro")
    )
    assert found["roc_auc"] == pytest.approx(area)
    low, high = found["roc_auc_interval_95"]
    assert 0.5 < low < found["roc_auc"] < high < 1.0


def test_roc_auc_interval_narrows_with_the_number_of_groups() -> None:
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 100)
    probabilities = softmax(random.normal(size=(200, 2)) + np.eye(2)[classes])
    width = []
    for groups in (np.arange(200), np.arange(200) // 20):
        # Pictures of a group have equal scores.
        shared = softmax(np.log(probabilities[np.unique(groups, return_index=True)[1][groups]]))
        found = classification_metrics(shared, classes, groups, ["a", "b"], config=CONFIG)
        low, high = found["roc_auc_interval_95"]
        width.append(high - low)
    assert width[1] > 2 * width[0]


def test_roc_auc_of_one_class_is_none() -> None:
    found = summary([0, 1, 0], [0, 0, 0])
    assert found["roc_auc"] is None
    assert found["roc_auc_interval_95"] is None
    assert found["recall"] == {"c0": pytest.approx(2 / 3)}
    assert found["precision"] == {"c0": 1.0, "c1": 0.0}


def test_two_pictures_have_every_metric() -> None:
    found = summary([0, 1], [0, 1])
    assert found["roc_auc"] == 1.0
    assert found["roc_auc_interval_95"] == [1.0, 1.0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def intervals(found: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Return (low, value, high) of every metric with an interval."""
    rows = [
        (found[name + "_interval_95"][0], found[name], found[name + "_interval_95"][1])
        for name in ("accuracy", "balanced_accuracy")
    ]
    for name in ("recall", "precision"):
        for label, value in found[name].items():
            low, high = found[name + "_interval_95"][label]
            rows.append((low, value, high))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_intervals_contain_their_value_and_lie_in_0_to_1(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, 90)
    answers = np.where(random.random(90) < 0.8, classes, random.integers(0, 3, 90))
    for low, value, high in intervals(summary(answers.tolist(), classes.tolist(), num_classes=3)):
        assert 0.0 < low < value < high < 1.0
        assert high - low < 0.45


@pytest.mark.parametrize("correct", [True, False])
def test_interval_of_a_perfect_score_has_a_width(correct: bool) -> None:
    classes = [0] * 30 + [1] * 30
    found = summary([k if correct else 1 - k for k in classes], classes)
    for low, value, high in intervals(found):
        if correct:
            assert 0.8 < low < 1.0 == value
        else:
            assert value == 0.0 < high < 0.2


def test_jeffreys_interval_of_60_of_60() -> None:
    found = summary([0] * 60 + [1] * 60, [0] * 60 + [1] * 60)
    low, high = found["recall_interval_95"]["c0"]
    assert low == pytest.approx(0.96, abs=0.01)
    assert high > 0.999


def test_fewer_groups_give_wider_intervals() -> None:
    classes = [0] * 40 + [1] * 40
    answers = [0] * 36 + [1] * 4 + [1] * 36 + [0] * 4
    narrow = summary(answers, classes)
    wide = summary(answers, classes, [index // 8 for index in range(80)])
    for (low, _, high), (wide_low, _, wide_high) in zip(
        intervals(narrow), intervals(wide), strict=True
    ):
        assert wide_high - wide_low > 1.5 * (high - low)
    assert wide["groups"] == 10


def test_balanced_accuracy_ignores_classes_without_pictures() -> None:
    found = summary([0, 0, 1, 2], [0, 0, 1, 1], num_classes=3)
    assert set(found["recall"]) == {"c0", "c1"}
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert found["confusion"][2] == [0, 0, 0]


def test_classification_metrics_are_deterministic() -> None:
    assert summary([0, 1, 1, 0], [0, 0, 1, 1]) == summary([0, 1, 1, 0], [0, 0, 1, 1])


CHANCES = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
CLASSES = np.array([0, 1, 1, 1])  # the second is wrong


def test_confidence_metrics_follow_their_definitions() -> None:
    found = confidence_metrics(CHANCES, CLASSES, threshold=0.65)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.8]).mean())
    assert found["brier"] == pytest.approx(2 * np.mean([0.1**2, 0.6**2, 0.3**2, 0.2**2]))
    assert found["calibration_error"] == calibration_error(CHANCES, CLASSES)
    assert found["answered"] == 0.75
    assert found["answered_accuracy"] == 1.0


def test_answered_accuracy_is_none_without_answers() -> None:
    found = confidence_metrics(CHANCES, CLASSES, threshold=0.95)
    assert (found["answered"], found["answered_accuracy"]) == (0.0, None)


def test_risk_coverage_area_is_the_mean_error_over_coverages() -> None:
    correct = np.array([True, False, True, False])
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    assert risk_coverage_area(confidence, correct) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert risk_coverage_area(-confidence, correct) == pytest.approx(
        (1 + 1 / 2 + 2 / 3 + 2 / 4) / 4
    )
    assert risk_coverage_area(confidence, np.ones(4, bool)) == 0.0


def test_risk_coverage_area_ignores_the_order_of_ties() -> None:
    even = np.full(4, 0.5)
    for correct in ([True, False, True, True], [False, True, True, True]):
        assert risk_coverage_area(even, np.array(correct)) == pytest.approx(0.25)
