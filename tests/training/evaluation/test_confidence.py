"""Proper scores, refusal, and the area under risk and coverage."""

import numpy as np
import pytest

from training.evaluation.calibration import calibration_error
from training.evaluation.confidence import confidence_figures, risk_coverage_area

CHANCES = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
CLASSES = np.array([0, 1, 1, 1])  # the second is wrong


def test_the_scores_are_those_of_the_definitions() -> None:
    found = confidence_figures(CHANCES, CLASSES, threshold=0.65)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.8]).mean())
    assert found["brier"] == pytest.approx(2 * np.mean([0.1**2, 0.6**2, 0.3**2, 0.2**2]))
    assert found["calibration_error"] == calibration_error(CHANCES, CLASSES)
    assert found["answered"] == 0.75
    assert found["answered_accuracy"] == 1.0


def test_nothing_answered_has_no_accuracy() -> None:
    found = confidence_figures(CHANCES, CLASSES, threshold=0.95)
    assert (found["answered"], found["answered_accuracy"]) == (0.0, None)


def test_the_area_is_the_mean_error_as_more_and_more_are_answered() -> None:
    right = np.array([True, False, True, False])
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    assert risk_coverage_area(confidence, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert risk_coverage_area(-confidence, right) == pytest.approx((1 + 1 / 2 + 2 / 3 + 2 / 4) / 4)
    assert risk_coverage_area(confidence, np.ones(4, bool)) == 0.0


def test_equally_sure_answers_have_no_order() -> None:
    even = np.full(4, 0.5)
    for right in ([True, False, True, True], [False, True, True, True]):
        assert risk_coverage_area(even, np.array(right)) == pytest.approx(0.25)
