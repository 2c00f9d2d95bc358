"""Learning curve: heads fitted on growing parts of the data, and an estimate for twice the data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features, fit_head
from training.evaluation.intervals import (
    Design,
    percentile_interval,
    selected_error_low,
    share_interval,
)
from training.evaluation.metrics import balanced_accuracy_interval

Outlook = Literal["more", "same", "unknown"]

_SHARES: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
_REPEATS: Final = 4  # seeds of the split; each gives `folds` tested heads per share
# Error falls as a + b * n^-c (Hestness et al. 2017; Cortes et al. 1993); c is one of these.
_EXPONENTS: Final = np.linspace(0.1, 2.0, 20)
_RESAMPLES: Final = 400
_MAX_WEIGHTS: Final = 2**25  # at a time: 256 MB
_MIN_GAIN: Final = 0.005  # in balanced accuracy; less is not worth collecting pictures for
_MIN_ERRORS: Final = 10  # independent ones; fewer do not show how they fall


@dataclass(frozen=True)
class Point:
    """Balanced accuracy on held-out pictures of heads fitted on `pictures` pictures."""

    pictures: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """The measured points and their extrapolation.

    Attributes:
        points: From few to all pictures of a training part.
        gain: Expected gain in balanced accuracy from twice the pictures; None if unknown.
        gain_interval_95: Interval of `gain`.
        at_twice: Balanced accuracy of the cross-validation, and the gain; None if unknown.
        interval_95: Interval of `at_twice`, of forecasts that are made; never narrower than that
            of the balanced accuracy.
        outlook: "more" if more pictures of the same kind would help, "same" if not, or "unknown".
        sentence: The outlook in words.
    """

    points: list[Point]
    gain: float | None
    gain_interval_95: list[float] | None
    at_twice: float | None
    interval_95: list[float] | None
    outlook: Outlook
    sentence: str


def learning_curve(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    penalty: float,
    measured: tuple[float, list[float]],
    config: FitConfig,
) -> LearningCurve:
    """Fit heads on growing, grouped, stratified parts of each training part, several times.

    Args:
        features: (n, D).
        classes: (n,).
        groups: (n,).
        penalty: Inverse L2 strength C of every head.
        measured: Balanced accuracy of the cross-validation, and its interval.
        config: Folds and seed.
    """
    hits = np.zeros((len(_SHARES), len(classes)))
    times = np.zeros(len(classes))  # that a picture was predicted
    sizes: list[list[int]] = []
    for subsets, test in _splits(classes, groups, config):
        for share, subset in enumerate(subsets):
            head = fit_head(features[subset], classes[subset], penalty=penalty)
            hits[share, test] += head.logits(features[test]).argmax(axis=1) == classes[test]
        times[test] += 1
        sizes.append([len(subset) for subset in subsets])
    predicted = times > 0
    if len(np.unique(classes[predicted])) < len(np.unique(classes)):
        return LearningCurve(
            [], None, None, None, None, "unknown", "There are too few pictures to tell."
        )
    return extrapolate(
        hits[:, predicted] / times[predicted],
        classes[predicted],
        groups[predicted],
        np.array(sizes).mean(axis=0),
        total=len(classes),
        measured=measured,
        config=config,
    )


def _splits(
    classes: Classes, groups: NDArray[np.int64], config: FitConfig
) -> Iterator[tuple[list[NDArray[np.int64]], NDArray[np.int64]]]:
    """Yield the growing subsets of each training part, and its test part, as indices."""
    # Many pictures are precise in one repeat, and slow.
    for repeat in range(_REPEATS if len(classes) <= config.searched else 1):
        seed = config.seed + repeat
        try:
            folds = grouped_folds(classes, groups, folds=config.folds, seed=seed)
        except TooFewPictures:  # only this seed puts large groups badly: the run goes on
            continue
        for train, test in folds:
            subsets = _nested_subsets(classes[train], groups[train], seed)
            if subsets is not None:
                yield [train[subset] for subset in subsets], test


def _nested_subsets(
    classes: Classes, groups: NDArray[np.int64], seed: int
) -> list[NDArray[np.int64]] | None:
    """Return nested subsets of whole groups, each with all classes; None if the first lacks one."""
    shuffled = np.random.default_rng(seed).permutation(np.unique(groups))
    joins_at = dict.fromkeys(shuffled.tolist(), 1.0)  # smallest share that includes a group
    for k in np.unique(classes):  # at least its share of each class; more if groups have several
        names = shuffled[np.isin(shuffled, groups[classes == k])].tolist()
        for position, name in enumerate(names):
            joins_at[name] = min(joins_at[name], position / len(names))
    rank = np.array([joins_at[name] for name in groups.tolist()])
    subsets = [np.flatnonzero(rank < share) for share in _SHARES]
    smallest = classes[subsets[0]]
    if len(np.unique(smallest)) < len(np.unique(classes)) or min(np.bincount(smallest)) < 2:
        return None
    return subsets


def extrapolate(
    hits: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    pictures: NDArray[np.float64],
    *,
    total: int,
    measured: tuple[float, list[float]],
    config: FitConfig,
) -> LearningCurve:
    """Return the curve, extrapolated to twice the data.

    Draws of the curve weigh groups at random (Bayesian bootstrap, Rubin 1981), so that pictures
    predicted several times count once. Heads of other training pictures would differ, too: the
    draws' spread is corrected for it by Nadeau and Bengio (2003). The forecast is the gain from
    twice the pictures; the accuracy it is added to is that of the cross-validation.

    Args:
        hits: (shares, n): how often a picture was classified correctly, 0..1.
        classes: (n,).
        groups: (n,).
        pictures: (shares,) mean number of pictures that heads were fitted on.
        total: Number of pictures of the data set.
        measured: Balanced accuracy of the cross-validation, and its interval.
        config: Folds and seed.
    """
    design = Design.of(hits[-1] >= 0.5, groups, fitted=classes)
    means = _mean_over_classes(hits, np.ones((1, len(classes))), classes)[0]
    _, group = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(config.seed)
    num_groups = int(group.max()) + 1
    rows = max(1, _MAX_WEIGHTS // num_groups)
    sizes = [min(rows, _RESAMPLES - start) for start in range(0, _RESAMPLES, rows)]
    drawn = [
        _mean_over_classes(hits, random.exponential(size=(size, num_groups))[:, group], classes)
        for size in sizes
    ]
    # 1 / J + n_test / n_train over 1 / J, for the J folds of one repeat.
    spread = np.sqrt(1 + config.folds / (config.folds - 1))
    draws = means + spread * (np.concatenate(drawn) - means)
    points = []
    for share, size in enumerate(pictures.tolist()):
        low, high = percentile_interval(draws[:, share])
        own = balanced_accuracy_interval(hits[share], classes, groups, design)
        points.append(
            Point(
                size, float(means[share]), max(0.0, min(low, own[0])), min(1.0, max(high, own[1]))
            )
        )
    size = Design(design.correlation).size(groups)
    errors = float((1 - hits[-1]).mean()) * size
    if errors < _MIN_ERRORS:
        return LearningCurve(points, None, None, None, None, "unknown", _FEW_ERRORS)
    at = _fit_power_law(pictures, draws, (total, 2 * total))
    gains = at[:, 1] - at[:, 0]
    gain, gain_interval = float(np.median(gains)), percentile_interval(gains)
    accuracy, (low, high) = measured
    # A forecast is only made from some errors on, so more often where they are more than usual.
    high += share_interval(errors / size, size)[0] - selected_error_low(errors, size, _MIN_ERRORS)
    at_twice = min(1.0, accuracy + gain)
    interval = [
        max(0.0, at_twice - float(np.hypot(accuracy - low, gain - gain_interval[0]))),
        min(1.0, at_twice + float(np.hypot(high - accuracy, gain_interval[1] - gain))),
    ]
    outlook = _outlook(gain_interval)
    sentence = _sentence(outlook, gain, gain_interval, total)
    return LearningCurve(points, gain, gain_interval, at_twice, interval, outlook, sentence)


def _mean_over_classes(
    hits: NDArray[np.float64], weights: NDArray[np.float64], classes: Classes
) -> NDArray[np.float64]:
    """Return balanced accuracies: (shares, n) hits, (draws, n) weights -> (draws, shares)."""
    recalls = []
    for k in np.unique(classes):
        inside = weights[:, classes == k]
        recalls.append(inside @ hits[:, classes == k].T / inside.sum(axis=1, keepdims=True))
    return np.asarray(np.mean(recalls, axis=0))


def _fit_power_law(
    pictures: NDArray[np.float64], accuracies: NDArray[np.float64], targets: Sequence[int]
) -> NDArray[np.float64]:
    """Fit error = a + b * n^-c with a, b >= 0 by least squares to each curve.

    Args:
        pictures: (shares,).
        accuracies: (curves, shares).
        targets: Numbers of pictures.

    Returns:
        float64 (curves, targets): accuracies there.
    """
    x = pictures ** -_EXPONENTS[:, None]  # (exponents, shares)
    x_mean = x.mean(axis=1)
    errors = np.maximum(0.0, 1.0 - accuracies)
    mean = errors.mean(axis=1)[:, None]  # (curves, 1)
    slope = errors @ (x - x_mean[:, None]).T / ((x - x_mean[:, None]) ** 2).sum(axis=1)
    slope = np.maximum(0.0, slope)  # (curves, exponents)
    floor = mean - slope * x_mean
    through_zero = errors @ x.T / (x**2).sum(axis=1)
    slope = np.where(floor < 0, through_zero, slope)
    floor = np.maximum(0.0, floor)
    fitted = floor[..., None] + slope[..., None] * x  # (curves, exponents, shares)
    best = ((fitted - errors[:, None]) ** 2).sum(axis=-1).argmin(axis=1)[:, None]
    at = np.array(targets, dtype=np.float64) ** -_EXPONENTS[best]  # (curves, targets)
    return np.asarray(
        1.0 - np.take_along_axis(floor, best, 1) - np.take_along_axis(slope, best, 1) * at
    )


def _outlook(gain_interval: Sequence[float]) -> Outlook:
    """Classify the interval of the gain from twice the pictures."""
    low, high = gain_interval
    if high < _MIN_GAIN:
        return "same"
    return "more" if low > _MIN_GAIN else "unknown"


_FEW_ERRORS: Final = (
    "What more pictures would gain cannot be estimated from fewer than "
    f"{_MIN_ERRORS} independent errors."
)


def _sentence(outlook: Outlook, gain: float, interval: Sequence[float], total: int) -> str:
    conclusion = {
        "same": "more of the same would hardly help; pictures of other kinds might",
        "more": "more pictures should help",
        "unknown": "this data does not show if more of the same would help",
    }[outlook]
    low, high = (100 * end for end in interval)
    return (
        f"Twice the pictures ({2 * total}) of the same kind are expected to gain about "
        f"{100 * gain:.1f} points of balanced accuracy ({low:.1f} to {high:.1f}, with 95 % "
        f"confidence): {conclusion}."
    )
