"""Calibration of scores: temperature, log loss, calibration error, and `uncertain` threshold."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import beta, norm

from training.evaluation.head import Classes, softmax
from training.evaluation.intervals import (
    Design,
    mean_loss_interval,
    standard_error,
)

_NUM_BINS: Final = 15  # of the expected calibration error, as in Guo et al. 2017
_BAND_DRAWS: Final = 1000
_BOUND_CONFIDENCE: Final = 0.95  # of the bound on the error of given answers
_NUM_THRESHOLDS: Final = 20  # tried: more would be tests of nearly the same answers
_TEMPERATURE_RANGE: Final = (0.2, 20.0)
# Standard deviation of the prior of log(T) around 0. It outweighs a few pictures only, and keeps T
# from following folds that were separated perfectly.
_PRIOR_DEVIATION: Final = 0.25
_MIN_GAIN_ERRORS: Final = 1.645  # standard errors of the gain in log loss; one-sided 5 %
_MIN_PROBABILITY: Final = 1e-12


@dataclass(frozen=True)
class Calibration:
    """Temperature that calibrates the logits, and its effect.

    Every figure is out of fold, and "after" is cross-fitted: a picture's temperature is fitted on
    the other folds.

    Attributes:
        temperature: Divides the logits; 1 unless that lowers the cross-fitted log loss.
        ece_before: Expected calibration error at temperature 1, debiased.
        ece_after: Expected calibration error at the temperature, debiased.
        ece_band: `ece_after` that 95 % of perfectly calibrated models stay below.
        log_loss_before: Log loss at temperature 1.
        log_loss: Log loss at the temperature.
        log_loss_interval_95: Interval of `log_loss`.
    """

    temperature: float
    ece_before: float
    ece_after: float
    ece_band: float
    log_loss_before: float
    log_loss: float
    log_loss_interval_95: list[float]


@dataclass(frozen=True)
class Decision:
    """Threshold below which an answer is `uncertain`, and its effect.

    Attributes:
        threshold: Answers whose highest probability is below are `uncertain`.
        target_error: Wanted error rate of given answers.
        reached: True if the data show, with 95 % confidence, that the target is kept.
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


def fit_temperature(
    logits: NDArray[np.float64], classes: Classes, groups: NDArray[np.int64] | None = None
) -> float:
    """Return the temperature of lowest log loss (Guo, Pleiss, Sun and Weinberger 2017).

    A weak normal prior on its logarithm, around 0, keeps folds without any mistake from infinite
    confidence. Platt's targets (1999), used before, ask for a pseudo-error per class, and made the
    scores of good models too modest.

    Args:
        logits: (n, K), each from a head that has not seen the picture.
        classes: (n,).
        groups: (n,) group numbers: pictures count as their effective number; None for n.
    """
    size = float(len(classes))
    if groups is not None:
        size = Design.of(logits.argmax(axis=1) == classes, groups).size(groups)

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / _PRIOR_DEVIATION) ** 2 / 2
        return float(_losses(logits / np.exp(log_temperature), classes).mean() * size + prior)

    low, high = np.log(_TEMPERATURE_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def calibrate(
    logits: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    folds: NDArray[np.int64],
) -> Calibration:
    """Fit a temperature on out-of-fold logits, and keep it only if it helps.

    It helps if it lowers the log loss of pictures that it was not fitted on, and a one-sided test
    at 5 % shows it: kept on a bare win, it made the scores of good models worse.

    Args:
        logits: (n, K), each from a head that has not seen the picture.
        classes: (n,).
        groups: (n,) group numbers.
        folds: (n,) number of the fold of each picture.
    """
    crossed = logits.copy()
    for fold in np.unique(folds):
        inside = folds == fold
        crossed[inside] /= fit_temperature(logits[~inside], classes[~inside], groups[~inside])
    before, after = _losses(logits, classes), _losses(crossed, classes)
    gains = before - after
    helps = float(gains.mean()) > _MIN_GAIN_ERRORS * standard_error(gains, groups)
    used, losses = (crossed, after) if helps else (logits, before)
    probabilities = softmax(used)
    return Calibration(
        temperature=fit_temperature(logits, classes, groups) if helps else 1.0,
        ece_before=calibration_error(softmax(logits), classes),
        ece_after=calibration_error(probabilities, classes),
        ece_band=consistency_band(probabilities),
        log_loss_before=float(before.mean()),
        log_loss=float(losses.mean()),
        log_loss_interval_95=mean_loss_interval(losses, groups),
    )


def _losses(logits: NDArray[np.float64], classes: Classes) -> NDArray[np.float64]:
    probabilities = softmax(logits)[np.arange(len(classes)), classes]
    return np.asarray(-np.log(np.maximum(probabilities, _MIN_PROBABILITY)))


def calibration_error(probabilities: NDArray[np.float64], classes: Classes) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    The highest probability is put into 15 bins of equal width (Naeini et al. 2015). Chance alone
    makes a gap in bins of few pictures; what it adds on average is taken off (Kumar, Liang and Ma
    2019), else a perfectly calibrated model of 60 pictures would have an error of several points.
    """
    rows = np.array(reliability(probabilities, classes))
    confidence, accuracy, share = rows.T
    return float(_debiased(confidence, accuracy, share, len(classes)))


def consistency_band(probabilities: NDArray[np.float64]) -> float:
    """Return the calibration error that 95 % of perfectly calibrated models stay below.

    The correct answers are drawn with the very confidences (Broecker and Smith 2007).
    """
    n = len(probabilities)
    rows = np.array(reliability(probabilities, np.zeros(n, dtype=np.int64)))
    confidence, _, share = rows.T
    sizes = np.round(share * n).astype(np.int64)
    random = np.random.default_rng(0)
    drawn = random.binomial(sizes, np.minimum(confidence, 1.0), (_BAND_DRAWS, len(sizes))) / sizes
    return float(np.quantile(_debiased(confidence, drawn, share, n), _BOUND_CONFIDENCE))


def _debiased(
    confidence: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    share: NDArray[np.float64],
    pictures: int,
) -> NDArray[np.float64]:
    """Return the calibration error of bins (..., bins) less its expected excess by chance.

    A gap with normal noise has a folded normal distribution; its mean less the gap is the excess.
    """
    gap = np.abs(accuracy - confidence)
    noise = np.sqrt(np.maximum(confidence * (1 - confidence), 1e-12) / (share * pictures))
    folded = noise * np.sqrt(2 / np.pi) * np.exp(-((gap / noise) ** 2) / 2) + gap * (
        1 - 2 * norm.cdf(-gap / noise)
    )
    return np.asarray(np.maximum(0.0, (share * (2 * gap - folded)).sum(axis=-1)))


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
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    target_error: float,
) -> Decision:
    """Choose the lowest threshold that keeps the error of given answers to a target.

    As in selective classification (Geifman and El-Yaniv 2017), the upper Clopper-Pearson bound of
    the error, not the error itself, must meet the target; pictures in groups count as their
    effective number (Korn and Graubard 1998). A coarse grid of thresholds is tested from the
    strictest one down, and the first that fails ends the search. Fixed-sequence testing costs no
    confidence (Learn then Test: Angelopoulos, Bates, Candes, Jordan and Lei 2025): over many data
    sets at most 5 % of the thresholds that are said to keep the target do not.

    If none passes (few pictures cannot show a small error), `reached` is False, and the result is
    the lowest threshold of the grid whose observed error meets the target; if there is none, the
    one with the lowest bound. The threshold is never below the lowest confidence seen, because
    nothing is known about answers below it.

    Args:
        probabilities: (n, K), calibrated, out of fold.
        classes: (n,).
        groups: (n,) group numbers.
        target_error: Wanted error rate of given answers, 0..1.
    """
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != classes
    order = np.argsort(-confidence, kind="stable")
    given = _grid(confidence[order])
    errors = np.cumsum(wrong[order])[given - 1]
    design = Design.of(~wrong, groups)
    sizes = np.array([design.size(groups[order[:count]]) for count in given])
    bounds = _upper_bounds(errors / given, sizes)
    # Thresholds so strict that one error among their answers would fail them are not tested, if
    # there are others: a single picture would end the search.
    one = np.flatnonzero(_upper_bounds(1 / given, sizes) <= target_error)
    none = np.flatnonzero(_upper_bounds(np.zeros(len(given)), sizes) <= target_error)
    start = int([*one, *none, len(given)][0])
    passed = int(np.cumprod(bounds[start:] <= target_error).sum())
    observed = np.flatnonzero(errors <= target_error * given)
    if passed:
        best = start + passed - 1
    elif len(observed):
        best = int(observed[-1])
    else:
        best = int(np.argmin(bounds))
    return Decision(
        threshold=float(confidence[order][given[best] - 1]),
        target_error=target_error,
        reached=passed > 0,
        coverage=float(given[best] / len(order)),
        error=float(errors[best] / given[best]),
        error_bound=float(bounds[best]),
    )


def _grid(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return numbers of answers given at thresholds from strict to none: descending confidence.

    Pictures of equal confidence are answered together, so only the last of them can be an end.
    """
    n = len(confidence)
    ends = np.flatnonzero(np.append(np.diff(confidence) != 0, True)) + 1
    wanted = np.ceil(np.arange(1, _NUM_THRESHOLDS + 1) / _NUM_THRESHOLDS * n)
    return np.unique(ends[np.searchsorted(ends, wanted)])


def _upper_bounds(errors: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one-sided upper Clopper-Pearson bounds of error rates of effective sizes."""
    hits = sizes * (1 - errors)
    bounds = beta.ppf(_BOUND_CONFIDENCE, sizes * errors + 1, np.maximum(hits, 1e-9))
    return np.asarray(np.where(hits <= 1e-9, 1.0, bounds))
