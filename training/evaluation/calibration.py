"""Calibration of scores: temperature, expected calibration error, and the `uncertain` threshold."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from training.evaluation.head import Classes, softmax

_NUM_BINS: Final = 15  # of the expected calibration error, as in Guo et al. 2017
_BOUND_CONFIDENCE: Final = 0.95  # of the bound on the error of given answers
# An optimum beyond these only means that the folds were separated perfectly, or not at all.
_TEMPERATURE_RANGE: Final = (0.2, 20.0)


@dataclass(frozen=True)
class Calibration:
    """Temperature that calibrates the logits, and its effect.

    Attributes:
        temperature: Divides the logits.
        ece_before: Expected calibration error at temperature 1, out of fold.
        ece_after: Expected calibration error at the temperature, out of fold.
    """

    temperature: float
    ece_before: float
    ece_after: float

    def as_dict(self) -> dict[str, Any]:
        """Return the block of summary.json and the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """Threshold below which an answer is `uncertain`, and its effect.

    Attributes:
        threshold: Answers whose highest probability is below are `uncertain`.
        target_error: Wanted error rate of given answers.
        reached: True if the data show that the target is kept.
        coverage: Share of pictures that get an answer, out of fold.
        error: Error rate of those answers, out of fold.
        error_bound: One-sided upper 95 % bound of `error`.
    """

    threshold: float
    target_error: float
    reached: bool
    coverage: float
    error: float
    error_bound: float

    def as_dict(self) -> dict[str, Any]:
        """Return the block of summary.json and the manifest."""
        return asdict(self)


def calibrate(logits: NDArray[np.float64], classes: Classes) -> Calibration:
    """Fit one temperature on out-of-fold logits (Guo, Pleiss, Sun and Weinberger 2017).

    The targets are Platt's (1999): with n pictures of a class the true class has probability
    (n + 1) / (n + 2), so that folds without any mistake do not lead to infinite confidence.

    Args:
        logits: (n, K), each from a head that has not seen the picture.
        classes: (n,).
    """
    num_classes = logits.shape[1]
    sizes = np.bincount(classes, minlength=num_classes)[classes]
    target = (sizes + 1) / (sizes + 2)
    targets = np.repeat(((1 - target) / (num_classes - 1))[:, None], num_classes, axis=1)
    targets[np.arange(len(classes)), classes] = target

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return float(-(targets * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1).mean())

    low, high = np.log(_TEMPERATURE_RANGE)
    optimum = minimize_scalar(loss, bounds=(low, high), method="bounded")
    temperature = float(np.exp(optimum.x))
    return Calibration(
        temperature=temperature,
        ece_before=calibration_error(softmax(logits), classes),
        ece_after=calibration_error(softmax(logits / temperature), classes),
    )


def calibration_error(probabilities: NDArray[np.float64], classes: Classes) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    The highest probability is put into 15 bins of equal width (Naeini et al. 2015).
    """
    return float(
        sum(
            share * abs(confidence - accuracy)
            for confidence, accuracy, share in reliability(probabilities, classes)
        )
    )


def reliability(
    probabilities: NDArray[np.float64], classes: Classes
) -> list[tuple[float, float, float]]:
    """Return (mean confidence, accuracy, share of pictures) of each non-empty bin."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == classes
    bins = np.minimum((confidence * _NUM_BINS).astype(int), _NUM_BINS - 1)
    rows = []
    for number in np.unique(bins):
        inside = bins == number
        rows.append(
            (float(confidence[inside].mean()), float(correct[inside].mean()), float(inside.mean()))
        )
    return rows


def choose_threshold(
    probabilities: NDArray[np.float64], classes: Classes, *, target_error: float
) -> Decision:
    """Choose the lowest threshold that keeps the error of given answers to a target.

    As in selective classification (Geifman and El-Yaniv 2017), the upper Clopper-Pearson bound of
    the error, not the error itself, must meet the target. The bound is pointwise; the search over
    thresholds makes it slightly optimistic. If no bound meets the target (few pictures cannot
    show a small error), `reached` is False, and the result is the lowest threshold whose observed
    error meets it; if there is none, the threshold with the lowest bound. The threshold is never
    below the lowest confidence seen, because nothing is known about answers below it.

    Args:
        probabilities: (n, K), calibrated, out of fold.
        classes: (n,).
        target_error: Wanted error rate of given answers, 0..1.
    """
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != classes
    order = np.argsort(-confidence, kind="stable")
    given = np.arange(1, len(order) + 1)  # answers given at a threshold of that confidence
    errors = np.cumsum(wrong[order])
    bounds = beta.ppf(_BOUND_CONFIDENCE, errors + 1, np.maximum(given - errors, 1))
    bounds = np.where(errors == given, 1.0, bounds)
    # Pictures of equal confidence are answered together: only the last of them can be an end.
    ends = np.append(np.diff(confidence[order]) != 0, True)
    meets = np.flatnonzero((bounds <= target_error) & ends)
    observed = np.flatnonzero((errors <= target_error * given) & ends)
    if len(meets):
        best = int(meets[-1])
    elif len(observed):
        best = int(observed[-1])
    else:
        best = int(np.argmin(np.where(ends, bounds, np.inf)))
    return Decision(
        threshold=float(confidence[order][best]),
        target_error=target_error,
        reached=bool(len(meets)),
        coverage=float(given[best] / len(order)),
        error=float(errors[best] / given[best]),
        error_bound=float(bounds[best]),
    )
