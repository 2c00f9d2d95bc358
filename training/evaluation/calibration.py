"""From scores to decisions: temperature, calibration error, and when to say `uncertain`."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from training.evaluation.head import Classes, softmax

_BINS: Final = 15  # of the expected calibration error, as in Guo et al. 2017
_CONFIDENCE: Final = 0.95  # of the bound on the error of answers that are given
# Beyond these the optimum only says that the folds were separated perfectly, or not at all.
_TEMPERATURES: Final = (0.2, 20.0)


@dataclass(frozen=True)
class Calibration:
    """What turns logits into probabilities that mean what they say.

    Attributes:
        temperature: Divides the logits.
        ece_before: Expected calibration error of the plain softmax, out of fold.
        ece_after: The same with the temperature.
    """

    temperature: float
    ece_before: float
    ece_after: float

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and the report."""
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """When an answer is given, and when it is `uncertain`.

    Attributes:
        threshold: Answers whose highest probability is below are `uncertain`.
        target_error: The error that was asked for among answers that are given.
        reached: Whether the data can show that the target is kept.
        coverage: Share of pictures that get an answer, out of fold.
        error: Share of wrong ones among those, out of fold.
        error_bound: Its one-sided upper 95 % bound.
    """

    threshold: float
    target_error: float
    reached: bool
    coverage: float
    error: float
    error_bound: float

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and the report."""
        return asdict(self)


def calibrate(logits: NDArray[np.float64], classes: Classes) -> Calibration:
    """Fit one temperature on out-of-fold logits (Guo, Pleiss, Sun and Weinberger 2017).

    The targets are Platt's (1999): with n pictures of a class the true class counts as
    (n + 1) / (n + 2), so that folds without any mistake do not ask for infinite confidence.

    Args:
        logits: (n, K), each from a head that has not seen the picture.
        classes: (n,).
    """
    count = logits.shape[1]
    sizes = np.bincount(classes, minlength=count)[classes]
    sure = (sizes + 1) / (sizes + 2)
    targets = np.repeat(((1 - sure) / (count - 1))[:, None], count, axis=1)
    targets[np.arange(len(classes)), classes] = sure

    def loss(log_temperature: float) -> float:
        chances = softmax(logits / np.exp(log_temperature))
        return float(-(targets * np.log(np.maximum(chances, 1e-12))).sum(axis=1).mean())

    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded")
    temperature = float(np.exp(found.x))
    return Calibration(
        temperature=temperature,
        ece_before=calibration_error(softmax(logits), classes),
        ece_after=calibration_error(softmax(logits / temperature), classes),
    )


def calibration_error(probabilities: NDArray[np.float64], classes: Classes) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, on average.

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
    """(mean confidence, accuracy, share of pictures) of each bin that is not empty."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == classes
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    rows = []
    for k in np.unique(bins):
        inside = bins == k
        rows.append(
            (float(confidence[inside].mean()), float(right[inside].mean()), float(inside.mean()))
        )
    return rows


def choose_threshold(
    probabilities: NDArray[np.float64], classes: Classes, *, target_error: float
) -> Decision:
    """Choose the lowest threshold that keeps the error of given answers to a target.

    As in selective classification (Geifman and El-Yaniv 2017): the upper Clopper-Pearson bound
    of the error, not the error itself, must meet the target. The bound is pointwise; that
    the threshold is searched for makes it a little optimistic. Where no bound meets the target
    (few pictures cannot show a small error), `reached` is false, and the lowest threshold is
    taken at which the observed error does; where none does, the one with the least bound. The
    threshold is never below the least confidence seen: nothing is known of answers less sure.

    Args:
        probabilities: (n, K), calibrated, out of fold.
        classes: (n,).
        target_error: Wanted share of wrong answers among those given, 0..1.
    """
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != classes
    order = np.argsort(-confidence, kind="stable")
    given = np.arange(1, len(order) + 1)  # answers given if the threshold is that confidence
    errors = np.cumsum(wrong[order])
    bounds = beta.ppf(_CONFIDENCE, errors + 1, np.maximum(given - errors, 1))
    bounds = np.where(errors == given, 1.0, bounds)
    # Pictures of equal confidence are answered together: only the last of them can be the end.
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
