"""Metrics and their intervals, against scikit-learn and by hand."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)

from training.evaluation.calibration import calibration_error
from training.evaluation.head import softmax
from training.evaluation.intervals import Design, selected_error_low, share_interval
from training.evaluation.metrics import (
    classification_metrics,
    confidence_metrics,
    risk_coverage_area,
    roc_auc,
)


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
    found = classification_metrics(probabilities, classes, np.arange(120) // 2, labels)
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
        found = classification_metrics(shared, classes, groups, ["a", "b"])
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
    low, high = found["roc_auc_interval_95"]
    assert low < 0.5
    assert high == 1.0
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
    assert high == 1.0


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


# --- many classes, groups, ends of the scale -------------------------------------------------


@pytest.mark.parametrize(("num_classes", "each"), [(2, 180), (10, 12), (30, 12), (30, 40)])
@pytest.mark.parametrize("wrong", [0, 1, 5, 18])
def test_interval_of_many_classes_holds_its_value(num_classes: int, each: int, wrong: int) -> None:
    classes = np.repeat(np.arange(num_classes), each)
    answers = classes.copy()
    missed = np.linspace(0, len(classes) - 1, wrong).astype(int)
    answers[missed] = (answers[missed] + 1) % num_classes
    found = summary(answers.tolist(), classes.tolist(), num_classes=num_classes)
    for name in ("accuracy", "balanced_accuracy"):
        low, high = found[f"{name}_interval_95"]
        assert low < found[name] <= high


def test_interval_of_30_flawless_classes_is_that_of_all_pictures() -> None:
    # It was 94.1 to 97.8 %, below the printed 100 %.
    classes = np.repeat(np.arange(30), 12).tolist()
    found = summary(classes, classes, num_classes=30)
    low, high = found["balanced_accuracy_interval_95"]
    assert low == pytest.approx(0.993, abs=0.001)
    assert high == 1.0
    assert found["accuracy_interval_95"] == pytest.approx([low, high])


@pytest.mark.parametrize(("num_classes", "each"), [(2, 30), (5, 24), (10, 12), (30, 12)])
@pytest.mark.parametrize("accuracy", [0.8, 0.95, 0.99])
def test_intervals_cover_the_truth(num_classes: int, each: int, accuracy: float) -> None:
    classes = np.repeat(np.arange(num_classes), each)
    covered = []
    for random in np.random.default_rng(0).spawn(80):
        correct = random.random(len(classes)) < accuracy
        answers = np.where(correct, classes, (classes + 1) % num_classes)
        found = summary(answers.tolist(), classes.tolist(), num_classes=num_classes)
        low, high = found["balanced_accuracy_interval_95"]
        covered.append(low <= accuracy <= high)
    assert np.mean(covered) >= 0.89  # 95 % less 2.5 standard errors


def test_balanced_accuracy_interval_of_uneven_classes_is_that_of_the_small_one() -> None:
    classes = np.repeat([0, 1], [400, 20])
    answers = classes.copy()
    answers[400:403] = 0
    low, high = summary(answers.tolist(), classes.tolist())["balanced_accuracy_interval_95"]
    assert 0.8 < low < 0.87
    assert 0.95 < high < 0.99


def test_groups_without_shared_errors_cost_no_width() -> None:
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 180)
    answers = np.where(random.random(360) < 0.9, classes, 1 - classes)
    alone = summary(answers.tolist(), classes.tolist())["accuracy_interval_95"]
    grouped = summary(answers.tolist(), classes.tolist(), list(range(120)) * 3)
    # The names of 120 groups of 3 go across the classes: errors in them are independent.
    low, high = grouped["accuracy_interval_95"]
    assert high - low < 1.15 * (alone[1] - alone[0])
    copies = summary(
        answers[::6].repeat(6).tolist(), classes.tolist(), (np.arange(360) // 6).tolist()
    )
    low, high = copies["accuracy_interval_95"]
    assert high - low > 2.0 * (alone[1] - alone[0])


def test_few_groups_or_errors_count_by_kish() -> None:
    classes = [0] * 60 + [1] * 60
    for answers, groups in (
        (classes, [index // 4 for index in range(120)]),  # no error
        ([1] * 15 + classes[15:], [index // 10 for index in range(120)]),  # 12 groups
    ):
        found = summary(answers, classes, groups)
        size = len(set(groups))
        hits = found["accuracy"] * size
        low = beta.ppf(0.025, hits + 0.5, size - hits + 0.5)
        assert found["accuracy_interval_95"][0] == pytest.approx(low)


def test_roc_auc_interval_of_perfect_ranking_has_a_width() -> None:
    # A bootstrap gave 1.000 to 1.000, which held the truth in 32 % of data sets.
    classes = [0] * 10 + [1] * 10
    low, high = summary(classes, classes)["roc_auc_interval_95"]
    assert 0.7 < low < 0.9
    assert high == 1.0


def test_roc_auc_interval_of_many_pictures_is_delong() -> None:
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 2000)
    probabilities = softmax(random.normal(size=(4000, 2)) + np.eye(2)[classes])
    found = classification_metrics(probabilities, classes, np.arange(4000), ["a", "b"])
    _, influences = roc_auc(probabilities[:, 1], classes == 1)
    error = float(np.sqrt((influences**2).sum()))
    low, high = found["roc_auc_interval_95"]
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_next_100_interval_is_wider_than_that_of_the_accuracy() -> None:
    classes = [0] * 180 + [1] * 180
    answers = [1] * 9 + classes[9:351] + [0] * 9
    found = summary(answers, classes)
    low, high = found["next_100_interval_95"]
    assert (low, high) == (89, 99)
    assert high - low > 100 * (found["accuracy_interval_95"][1] - found["accuracy_interval_95"][0])
    assert summary(classes, classes)["next_100_interval_95"] == [99, 100]


def test_heads_of_a_cross_validation_widen_intervals() -> None:
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 60)
    chances = softmax(random.normal(size=(120, 2)) + 2 * np.eye(2)[classes])
    names = ("accuracy", "balanced_accuracy", "roc_auc")
    one, several = (
        classification_metrics(
            chances, classes, np.arange(120), ["a", "b"], cross_validated=cross_validated
        )
        for cross_validated in (False, True)
    )
    for name in names:
        widths = [np.ptp(found[f"{name}_interval_95"]) for found in (one, several)]
        assert 1.05 < widths[1] / widths[0] < 1.25


# --- design and selection ------------------------------------------------------------------


def test_small_class_widens_intervals_of_a_cross_validation() -> None:
    correct, groups = np.ones(420, dtype=bool), np.arange(420)
    even = Design.of(correct, groups, fitted=np.arange(420) % 2).head_factor
    uneven = Design.of(correct, groups, fitted=np.repeat([0, 1], [400, 20])).head_factor
    assert even == pytest.approx(1 + 15 / 210)
    assert uneven == pytest.approx(1 + 15 * (1 / 400 + 1 / 20) / 2)
    assert Design.of(correct, groups).head_factor == 1.0


@pytest.mark.parametrize("size", [60.0, 120.0, 360.0])
def test_selected_error_low_is_the_usual_end_where_errors_are_many(size: float) -> None:
    errors = np.array([10.0, 11.0, 12.0, 15.0, 20.0, 30.0])
    usual = np.array([1 - share_interval(1 - e / size, size)[1] for e in errors])
    found = np.array([selected_error_low(e, size, 10) for e in errors])
    assert found[0] == pytest.approx(0.0, abs=2e-4)  # ten errors say nothing if fewer are unseen
    assert (np.diff(found) > 0).all()
    assert (found <= usual + 1e-6).all()
    assert found[-1] == pytest.approx(usual[-1], rel=0.01)


def test_selected_error_low_holds_the_rate_of_selected_data_sets() -> None:
    errors = np.random.default_rng(0).binomial(120, 0.06, 20000)
    errors = errors[errors >= 10]  # a fifth of them
    covered = np.mean([selected_error_low(float(e), 120.0, 10) <= 0.06 for e in errors])
    usual = np.mean([1 - share_interval(1 - e / 120, 120)[1] <= 0.06 for e in errors])
    assert covered >= 0.96
    assert usual < 0.94
