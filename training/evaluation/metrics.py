"""Metrics of a set of predictions: accuracy, recall, precision, ROC AUC, and proper scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.evaluation.calibration import calibration_error
from training.evaluation.head import Classes
from training.evaluation.intervals import (
    Design,
    mean_interval,
    next_hundred_interval,
    roc_auc_interval,
    share_interval,
)


def balanced_accuracy(correct: NDArray[np.bool_], classes: Classes) -> float:
    """Return the mean over the classes present of each one's share of correct answers."""
    return float(np.mean([correct[classes == k].mean() for k in np.unique(classes)]))


def classification_metrics(
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    *,
    cross_validated: bool = False,
) -> dict[str, Any]:
    """Return accuracy, recall, precision, confusion matrix and ROC AUC, with 95 % intervals.

    Args:
        probabilities: (n, K).
        classes: (n,) true classes; some of the K may have no picture.
        groups: (n,) group numbers.
        labels: Class names.
        cross_validated: True if heads of a cross-validation answered, for the published one.
    """
    predicted = probabilities.argmax(axis=1)
    correct = predicted == classes
    design = Design.of(correct, groups, fitted=classes if cross_validated else None)
    accuracy, size = float(correct.mean()), design.size(groups)
    recall, recall_interval = _shares_by_class(correct, classes, groups, labels, design)
    precision, precision_interval = _shares_by_class(correct, predicted, groups, labels, design)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (classes, predicted), 1)
    return {
        "pictures": len(classes),
        "groups": len(np.unique(groups)),
        "accuracy": accuracy,
        "mean_score": float(probabilities.max(axis=1).mean()),
        "accuracy_interval_95": share_interval(accuracy, size),
        "next_100_interval_95": next_hundred_interval(accuracy, size),
        "balanced_accuracy": balanced_accuracy(correct, classes),
        "balanced_accuracy_interval_95": balanced_accuracy_interval(
            correct, classes, groups, design
        ),
        "recall": recall,
        "recall_interval_95": recall_interval,
        "precision": precision,
        "precision_interval_95": precision_interval,
        "confusion": confusion.tolist(),
        **_roc_auc(probabilities, classes, groups, design),
    }


def balanced_accuracy_interval(
    correct: NDArray[np.bool_] | NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    design: Design,
) -> list[float]:
    """Return the interval of balanced accuracy; see `mean_interval`.

    Args:
        correct: (n,).
        classes: (n,) true classes.
        groups: (n,) group numbers.
        design: Design of the answers.
    """
    present = np.unique(classes)
    return mean_interval(
        np.array([correct[classes == k].mean() for k in present]),
        np.array([design.size(groups[classes == k]) for k in present]),
    )


def _shares_by_class(
    correct: NDArray[np.bool_],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    design: Design,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the share of correct answers of each class that occurs, and its interval."""
    shares, intervals = {}, {}
    for k in np.unique(classes).tolist():
        inside = classes == k
        shares[labels[k]] = float(correct[inside].mean())
        intervals[labels[k]] = share_interval(shares[labels[k]], design.size(groups[inside]))
    return shares, intervals


def _roc_auc(
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    design: Design,
) -> dict[str, Any]:
    """Return the macro average over classes of one-versus-rest ROC AUC; None for one class."""
    present, class_sizes = np.unique(classes, return_counts=True)
    if len(present) < 2:
        return {"roc_auc": None, "roc_auc_interval_95": None}
    area, influences = 0.0, np.zeros(len(classes))
    for k in present:
        class_area, class_influences = roc_auc(probabilities[:, k], classes == k)
        area += class_area / len(present)
        influences += class_influences / len(present)
    return {
        "roc_auc": min(1.0, area),
        "roc_auc_interval_95": roc_auc_interval(
            min(1.0, area), influences, class_sizes, groups, design=design
        ),
    }


def roc_auc(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64]]:
    """Return the area under the ROC curve, and each picture's influence on it.

    The area is the probability that a positive scores higher than a negative, ties counting half
    (Hanley and McNeil 1982). Influences are the structural components of DeLong, DeLong and
    Clarke-Pearson (1988), found by ranks (Sun and Xu 2014).

    Args:
        scores: (n,).
        positive: (n,), some true and some false.

    Returns:
        The area, and float64 (n,) that adds up to 0.
    """
    ranks = rankdata(scores)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    above = (ranks[positive] - rankdata(scores[positive])) / negatives
    below = 1 - (ranks[~positive] - rankdata(scores[~positive])) / positives
    area = float(above.mean())
    influences = np.zeros(len(scores))
    influences[positive] = (above - area) / positives
    influences[~positive] = (below - area) / negatives
    return area, influences


def confidence_metrics(
    probabilities: NDArray[np.float64], classes: Classes, *, threshold: float
) -> dict[str, Any]:
    """Return proper scores, calibration error, and the effect of refusing uncertain answers.

    Args:
        probabilities: (n, K).
        classes: (n,) true classes.
        threshold: Score below which an answer is `uncertain`.

    Returns:
        `calibration_error`; `log_loss`, the mean negative log-probability of the true class;
        `brier`, the mean squared distance from the true class's corner (Brier 1950), 0 to 2;
        `answered`, the share of pictures with an answer; `answered_accuracy`, the share of correct
        ones among those, None if there is none; and `risk_coverage_area`.
    """
    true_probability = probabilities[np.arange(len(classes)), classes]
    one_hot = np.eye(probabilities.shape[1])[classes]
    correct = probabilities.argmax(axis=1) == classes
    confidence = probabilities.max(axis=1)
    answered = confidence >= threshold
    return {
        "calibration_error": calibration_error(probabilities, classes),
        "log_loss": float(-np.log(np.maximum(true_probability, 1e-12)).mean()),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "answered": float(answered.mean()),
        "answered_accuracy": float(correct[answered].mean()) if answered.any() else None,
        "risk_coverage_area": risk_coverage_area(confidence, correct),
    }


def risk_coverage_area(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the error rate of the n most confident answers, averaged over all n.

    The area under the risk-coverage curve (Geifman, Uziel and El-Yaniv 2019): 0 is best, and
    random refusal has the plain error rate. Answers of equal confidence have no order: each
    counts as their mean.

    Args:
        confidence: (n,).
        correct: (n,).
    """
    _, tie = np.unique(-confidence, return_inverse=True)  # most confident first
    wrong = (np.bincount(tie, ~correct) / np.bincount(tie))[tie]
    order = np.argsort(tie, kind="stable")
    return float((np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)).mean())
