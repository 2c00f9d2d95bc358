"""Metrics of a set of predictions: accuracy, recall, precision, ROC AUC, and proper scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import FitConfig
from training.evaluation.calibration import calibration_error
from training.evaluation.head import Classes
from training.evaluation.intervals import draw_share, percentile_interval, roc_auc_interval


def balanced_accuracy(correct: NDArray[np.bool_], classes: Classes) -> float:
    """Return the mean over the classes present of each one's share of correct answers."""
    return float(np.mean([correct[classes == k].mean() for k in np.unique(classes)]))


def classification_metrics(
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    *,
    config: FitConfig,
) -> dict[str, Any]:
    """Return accuracy, recall, precision, confusion matrix and ROC AUC, with 95 % intervals.

    Shares (accuracy, recall, precision) have the interval of `draw_share`. Intervals of means
    over classes come from draws of the classes' shares. The interval of ROC AUC is a bootstrap
    over groups.

    Args:
        probabilities: (n, K).
        classes: (n,) true classes; some of the K may have no picture.
        groups: (n,) group numbers.
        labels: Class names.
        config: Seed and number of draws.
    """
    predicted = probabilities.argmax(axis=1)
    correct = predicted == classes
    random = np.random.default_rng(config.seed)
    present = np.unique(classes).tolist()
    answered = np.unique(predicted).tolist()
    sizes = np.array([(classes == k).sum() for k in present])
    recall_draws = {
        k: draw_share(correct, groups, classes == k, random, config.draws) for k in present
    }
    precision_draws = {
        k: draw_share(correct, groups, predicted == k, random, config.draws) for k in answered
    }
    draws = np.column_stack(list(recall_draws.values()))  # (draws, classes present)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (classes, predicted), 1)
    return {
        "pictures": len(classes),
        "groups": len(np.unique(groups)),
        "accuracy": float(correct.mean()),
        "mean_score": float(probabilities.max(axis=1).mean()),
        "accuracy_interval_95": percentile_interval(draws @ (sizes / sizes.sum())),
        "balanced_accuracy": balanced_accuracy(correct, classes),
        "balanced_accuracy_interval_95": percentile_interval(draws.mean(axis=1)),
        "recall": {labels[k]: float(correct[classes == k].mean()) for k in present},
        "recall_interval_95": {
            labels[k]: percentile_interval(drawn) for k, drawn in recall_draws.items()
        },
        "precision": {labels[k]: float(correct[predicted == k].mean()) for k in answered},
        "precision_interval_95": {
            labels[k]: percentile_interval(drawn) for k, drawn in precision_draws.items()
        },
        "confusion": confusion.tolist(),
        **_roc_auc(probabilities, classes, groups, random),
    }


def _roc_auc(
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Return the macro average over classes of one-versus-rest ROC AUC; None for one class."""
    present = np.unique(classes)
    if len(present) < 2:
        return {"roc_auc": None, "roc_auc_interval_95": None}

    def mean_auc(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        areas = np.array(
            [weighted_roc_auc(probabilities[:, k], classes == k, weights) for k in present]
        )
        defined = ~np.isnan(areas)  # a draw may lack a class: the mean is over the others
        usable = defined.any(axis=0)  # a draw of a single class has no area at all
        return np.asarray(np.where(defined, areas, 0).sum(0)[usable] / defined.sum(0)[usable])

    return {
        "roc_auc": float(mean_auc(np.ones((1, len(classes))))[0]),
        "roc_auc_interval_95": roc_auc_interval(mean_auc, groups, random),
    }


def weighted_roc_auc(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the area under the ROC curve for many weightings of the same pictures at once.

    The area is the probability that a positive scores higher than a negative, ties counting half
    (Hanley and McNeil 1982). It equals scikit-learn's `roc_auc_score`, which takes one weighting
    at a time.

    Args:
        scores: (n,).
        positive: (n,).
        weights: (draws, n): how often each picture counts.

    Returns:
        float64 (draws,); NaN where a draw has no positive or no negative.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # of equal scores
    positives = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    negatives = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((positives * (below + negatives / 2)).sum(axis=1) / pairs)


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
