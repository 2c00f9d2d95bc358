"""Learning curve: heads fitted on growing parts of the data, and an estimate for twice the data."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features, fit_head
from training.evaluation.metrics import balanced_accuracy

Outlook = Literal["more", "same", "unknown"]

_SHARES: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
_REPEATS: Final = 4  # seeds of the split; each gives `folds` tested heads per share
# Error falls as a + b * n^-c (Hestness et al. 2017; Cortes et al. 1993); c is one of these.
_EXPONENTS: Final = np.linspace(0.1, 2.0, 20)
_RESAMPLES: Final = 400
_MIN_GAIN: Final = 0.005  # in balanced accuracy; less is not worth collecting pictures for


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
        at_twice: Expected balanced accuracy at twice the pictures; None if unknown.
        interval_95: Of `at_twice`.
        outlook: "more" if more pictures of the same kind would help, "same" if not, or "unknown".
        sentence: The outlook in words.
    """

    points: list[Point]
    at_twice: float | None
    interval_95: tuple[float, float] | None
    outlook: Outlook
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Return the block of summary.json and the manifest."""
        return asdict(self)


def learning_curve(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    num_classes: int,
    penalty: float,
    config: FitConfig,
) -> LearningCurve:
    """Fit heads on growing, grouped, stratified parts of each training part, several times.

    Args:
        features: (n, D).
        classes: (n,).
        groups: (n,).
        num_classes: Classes K.
        penalty: Inverse L2 strength C of every head.
        config: Folds and seed.
    """
    accuracies: list[list[float]] = []  # per split: balanced accuracy at each share
    sizes: list[list[int]] = []
    for subsets, test in _splits(classes, groups, config):
        row = []
        for subset in subsets:
            head = fit_head(
                features[subset], classes[subset], num_classes=num_classes, penalty=penalty
            )
            correct = head.logits(features[test]).argmax(axis=1) == classes[test]
            row.append(balanced_accuracy(correct, classes[test]))
        accuracies.append(row)
        sizes.append([len(subset) for subset in subsets])
    if not accuracies:
        return LearningCurve([], None, None, "unknown", "There are too few pictures to tell.")
    pictures = np.array(sizes).mean(axis=0)
    return _extrapolate(np.array(accuracies), pictures, total=len(classes), seed=config.seed)


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


def _extrapolate(
    accuracies: NDArray[np.float64], pictures: NDArray[np.float64], *, total: int, seed: int
) -> LearningCurve:
    """Return the curve of a table (splits, shares), extrapolated to twice the data."""
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(accuracies), (_RESAMPLES, len(accuracies)))
    resampled = accuracies[draws].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    points = [
        Point(float(size), float(mean), float(lower), float(upper))
        for size, mean, lower, upper in zip(
            pictures, accuracies.mean(axis=0), low, high, strict=True
        )
    ]
    at_twice = np.array([_fit_power_law(pictures, row, 2 * total) for row in resampled])
    at_total = np.array([_fit_power_law(pictures, row, total) for row in resampled])
    median = float(np.median(at_twice))
    interval = (float(np.percentile(at_twice, 2.5)), float(np.percentile(at_twice, 97.5)))
    outlook = _outlook(at_twice - at_total)
    return LearningCurve(
        points, median, interval, outlook, _sentence(outlook, median, interval, total)
    )


def _fit_power_law(
    pictures: NDArray[np.float64], accuracy: NDArray[np.float64], target: int
) -> float:
    """Fit error = a + b * n^-c with a, b >= 0 by least squares; return accuracy at `target`."""
    lowest_residual, estimate = np.inf, float(accuracy[-1])
    for exponent in _EXPONENTS:
        design = np.column_stack([np.ones(len(pictures)), pictures**-exponent])
        weights, residual = nnls(design, 1.0 - accuracy)
        if residual < lowest_residual:
            lowest_residual = residual
            estimate = 1.0 - float(weights[0] + weights[1] * float(target) ** -exponent)
    return estimate


def _outlook(gains: NDArray[np.float64]) -> Outlook:
    """Classify draws of the gain from twice the pictures."""
    low, high = np.percentile(gains, [2.5, 97.5])
    if high < _MIN_GAIN:
        return "same"
    return "more" if low > _MIN_GAIN else "unknown"


def _sentence(outlook: Outlook, at_twice: float, interval: Sequence[float], total: int) -> str:
    conclusion = {
        "same": "more of the same would hardly help; pictures of other kinds might",
        "more": "more pictures should help",
        "unknown": "whether more of the same would help can't be told from this data",
    }[outlook]
    return (
        f"With twice the pictures ({2 * total}) of the same kind, about {at_twice:.1%} is to be "
        f"expected ({interval[0]:.1%} to {interval[1]:.1%}): {conclusion}."
    )
