"""What a model's confidence is worth: proper scores, calibration, and refusing the least sure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.calibration import calibration_error
from training.evaluation.head import Classes


def confidence_figures(
    probabilities: NDArray[np.float64], classes: Classes, *, threshold: float
) -> dict[str, Any]:
    """Figures of calibration and of refusal.

    Args:
        probabilities: (n, K).
        classes: (n,) true classes.
        threshold: Score below which an answer is `uncertain`.

    Returns:
        `calibration_error`; `log_loss`, the mean negative log-probability of the true class;
        `brier`, the mean squared distance from the true class's corner (Brier 1950), 0 to 2;
        `answered`, the share of pictures with an answer; `answered_accuracy`, the share of those
        that are right, None if there is none; and `risk_coverage_area`.
    """
    chances = probabilities[np.arange(len(classes)), classes]
    corners = np.eye(probabilities.shape[1])[classes]
    right = probabilities.argmax(axis=1) == classes
    confidence = probabilities.max(axis=1)
    given = confidence >= threshold
    return {
        "calibration_error": calibration_error(probabilities, classes),
        "log_loss": float(-np.log(np.maximum(chances, 1e-12)).mean()),
        "brier": float(((probabilities - corners) ** 2).sum(axis=1).mean()),
        "answered": float(given.mean()),
        "answered_accuracy": float(right[given].mean()) if given.any() else None,
        "risk_coverage_area": risk_coverage_area(confidence, right),
    }


def risk_coverage_area(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Share of wrong answers among those given, averaged over how many are given, surest first.

    As in Geifman, Uziel and El-Yaniv (2019): 0 is best, and the plain error is what random
    refusal would have. Equally sure answers are given in no order: each counts as their mean.

    Args:
        confidence: (n,).
        right: (n,).
    """
    _, tie = np.unique(-confidence, return_inverse=True)  # surest first
    wrong = (np.bincount(tie, ~right) / np.bincount(tie))[tie]
    order = np.argsort(tie, kind="stable")
    return float((np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)).mean())
