"""Would more data help? Heads refitted on growing parts of the data, and what that promises."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features, fit_head

_SHARES: Final = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
_REPEATS: Final = 4  # seeds of the split; each gives `folds` judged heads a share
# Error falls as a + b * n^-c (Hestness et al. 2017; Cortes et al. 1993); c is taken from here.
_EXPONENTS: Final = np.linspace(0.1, 2.0, 20)
_RESAMPLES: Final = 400
# A gain smaller than this, in balanced accuracy, is not worth collecting pictures for.
_WORTHWHILE: Final = 0.005


@dataclass(frozen=True)
class Point:
    """Balanced accuracy on held-out pictures of heads fitted on `pictures` pictures."""

    pictures: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """The curve and what it says.

    Attributes:
        points: From few to all pictures of a training part.
        at_twice: Expected balanced accuracy at twice the pictures; None if it can't be told.
        interval_95: Of `at_twice`.
        outlook: Whether more of the same would help: "more", "same", or "unknown".
        sentence: The same for a person.
    """

    points: list[Point]
    at_twice: float | None
    interval_95: tuple[float, float] | None
    outlook: Literal["more", "same", "unknown"]
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and the report."""
        return asdict(self)


def learning_curve(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    penalty: float,
    config: FitConfig,
) -> LearningCurve:
    """Fit heads on growing, grouped, stratified parts of each training part, several times.

    Args:
        features: (n, D).
        classes: (n,).
        groups: (n,).
        count: Classes K.
        penalty: Inverse L2 strength C of every head.
        config: Folds and seed.
    """
    rows: list[list[float]] = []  # one a split: balanced accuracy at each share
    sizes: list[list[int]] = []
    # Many pictures say as much in one go, and take as long.
    for repeat in range(_REPEATS if len(classes) <= config.searched else 1):
        seed = config.seed + repeat
        try:
            folds = grouped_folds(classes, groups, folds=config.folds, seed=seed)
        except TooFewPictures:  # large groups fell badly for this seed: no reason to fail the run
            continue
        for fit_on, judge_on in folds:
            parts = _growing(classes[fit_on], groups[fit_on], seed)
            if parts is None:
                continue
            row = []
            for part in parts:
                chosen = fit_on[part]
                head = fit_head(features[chosen], classes[chosen], count=count, penalty=penalty)
                right = head.logits(features[judge_on]).argmax(axis=1) == classes[judge_on]
                shares = [
                    right[classes[judge_on] == k].mean() for k in np.unique(classes[judge_on])
                ]
                row.append(float(np.mean(shares)))
            rows.append(row)
            sizes.append([len(part) for part in parts])
    if not rows:
        return LearningCurve([], None, None, "unknown", "There are too few pictures to tell.")
    table, pictures = np.array(rows), np.array(sizes).mean(axis=0)
    return _read(table, pictures, total=len(classes), seed=config.seed)


def _growing(
    classes: Classes, groups: NDArray[np.int64], seed: int
) -> list[NDArray[np.int64]] | None:
    """Nested parts of whole groups, each with every class; None if the smallest cannot be."""
    shuffled = np.random.default_rng(seed).permutation(np.unique(groups))
    first = dict.fromkeys(shuffled.tolist(), 1.0)  # the share from which on a group is in
    for k in np.unique(classes):  # each class gives its share of groups, or more: those of two
        names = shuffled[np.isin(shuffled, groups[classes == k])].tolist()
        for at, name in enumerate(names):
            first[name] = min(first[name], at / len(names))
    rank = np.array([first[name] for name in groups.tolist()])
    parts = [np.flatnonzero(rank < share) for share in _SHARES]
    smallest = classes[parts[0]]
    every = len(np.unique(classes))
    if len(np.unique(smallest)) < every or min(np.bincount(smallest)) < 2:
        return None
    return parts


def _read(
    table: NDArray[np.float64], pictures: NDArray[np.float64], *, total: int, seed: int
) -> LearningCurve:
    """Summarise the table (splits, shares) and look ahead to twice the data."""
    random = np.random.default_rng(seed)
    means = table.mean(axis=0)
    resampled = table[random.integers(0, len(table), (_RESAMPLES, len(table)))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    points = [
        Point(float(n), float(mean), float(a), float(b))
        for n, mean, a, b in zip(pictures, means, low, high, strict=True)
    ]
    ahead = np.array([_extrapolate(pictures, row, 2 * total) for row in resampled])
    now = np.array([_extrapolate(pictures, row, total) for row in resampled])
    twice = float(np.median(ahead))
    interval = (float(np.percentile(ahead, 2.5)), float(np.percentile(ahead, 97.5)))
    outlook = _outlook(ahead - now)
    sentence = _sentence(outlook, twice, interval, total)
    return LearningCurve(points, twice, interval, outlook, sentence)


def _extrapolate(pictures: NDArray[np.float64], accuracy: NDArray[np.float64], at: int) -> float:
    """Fit error = a + b * n^-c with a, b >= 0 by least squares, and read it at `at` pictures."""
    best, answer = np.inf, float(accuracy[-1])
    for exponent in _EXPONENTS:
        design = np.column_stack([np.ones(len(pictures)), pictures**-exponent])
        weights, residual = nnls(design, 1.0 - accuracy)
        if residual < best:
            best = residual
            answer = 1.0 - float(weights[0] + weights[1] * float(at) ** -exponent)
    return answer


def _outlook(gain: NDArray[np.float64]) -> Literal["more", "same", "unknown"]:
    """Read the draws of what twice the pictures would gain."""
    least, most = np.percentile(gain, [2.5, 97.5])
    if most < _WORTHWHILE:
        return "same"
    return "more" if least > _WORTHWHILE else "unknown"


def _sentence(
    outlook: Literal["more", "same", "unknown"],
    twice: float,
    interval: Sequence[float],
    total: int,
) -> str:
    said = {
        "same": "more of the same would hardly help; pictures of other kinds might",
        "more": "more pictures should help",
        "unknown": "whether more of the same would help can't be told from this data",
    }
    return (
        f"With twice the pictures ({2 * total}) of the same kind, about {twice:.1%} is to be "
        f"expected ({interval[0]:.1%} to {interval[1]:.1%}): {said[outlook]}."
    )
