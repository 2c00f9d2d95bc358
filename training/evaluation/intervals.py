"""95 % intervals of shares, of balanced accuracy, of ROC AUC, and of the next 100 pictures.

Pictures of one group are not independent. A set of n pictures therefore counts as n / deff of
them, with the design effect deff = 1 + (m - 1) * ICC of Rao and Scott (1992). m is the mean size of
the group that a picture lies in, and ICC the correlation of the errors within a group.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta, betabinom, norm

# Below these the correlation of errors within groups cannot be estimated, and is taken to be 1.
_MIN_GROUPS: Final = 15
_MIN_ERRORS: Final = 10  # and as many correct answers
_HEAD_GROUPS: Final = 15.0  # per class of two, at which heads vary as much as a trial of one
_MAX_HEAD_FACTOR: Final = 1.6  # more was too wide where it was tried
_ENDS: Final = (0.025, 0.975)
_MIN_RATE: Final = 1e-4  # of errors; a lower one counts as none
_ROC_AUC_EPSILON: Final = 1e-9  # a ROC AUC this close to 0 or 1 counts as 0 or 1


def percentile_interval(draws: NDArray[np.float64]) -> list[float]:
    """Return the 2.5th and the 97.5th percentile of draws."""
    return [float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))]


@dataclass(frozen=True)
class Design:
    """How far answers are from independent, and so how much a sample of pictures is worth.

    Attributes:
        correlation: Intraclass correlation of correct answers within groups, 0..1.
        head_factor: Widens the variance where the pictures were answered by heads of a
            cross-validation; 1 for one model that has seen none of them.
    """

    correlation: float = 0.0
    head_factor: float = 1.0

    @classmethod
    def of(
        cls,
        correct: NDArray[np.bool_],
        groups: NDArray[np.int64],
        *,
        fitted: NDArray[np.int64] | None = None,
    ) -> "Design":
        """Return the design of answers.

        The correlation has the analysis-of-variance estimator, which is consistent for binary
        outcomes, too (Ridout, Demetrio and Firth 1999), and one standard error more, from a
        jackknife over groups; bounded below by 0. With under 15 groups, or under 10 errors, it is
        too uncertain to rely on: it is taken to be 1, which makes the size that of Kish (1965).

        Errors of a fold share a head, and the published head is another one. The variance of a
        head's accuracy falls as 1 / n^2, that of a trial of it as 1 / n, so that their ratio goes
        with the groups per class, and where classes are of different size above all with those
        of the small ones (the mean of 1 / groups). `python -m checks.coverage` measures it:
        without it, intervals of 60 to 360 pictures held the truth in 84 to 91 % of data sets.
        Heads of more classes vary more: of 5 x 72 pictures 93 to 95 % with the root of K / 2 (500
        data sets), 91 to 94 % without.
        Kish's size needs none: it takes errors to be more alike than they are.

        Args:
            correct: (n,).
            groups: (n,) group numbers.
            fitted: (n,) classes that the heads of a cross-validation were fitted on; None for
                one model.
        """
        correlation = _correlation(correct, groups)
        if correlation >= 1.0:
            return cls(1.0)
        if fitted is None:
            return cls(correlation)
        sizes = [cls(1.0).size(groups[fitted == k]) for k in np.unique(fitted)]
        per_class = _HEAD_GROUPS * (len(sizes) / 2) ** 0.5
        factor = 1 + per_class * float(np.mean(1 / np.array(sizes)))
        return cls(correlation, min(factor, _MAX_HEAD_FACTOR))

    def size(self, groups: NDArray[np.int64]) -> float:
        """Return the number of independent pictures that pictures in groups are worth."""
        _, sizes = np.unique(groups, return_counts=True)
        mean_size = (sizes**2).sum() / len(groups)  # of the group that a picture lies in
        design_effect = 1 + (mean_size - 1) * self.correlation
        return float(len(groups) / (design_effect * self.head_factor))


def _correlation(correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, num_groups, hits = len(correct), len(sizes), int(correct.sum())
    if n == num_groups:
        return 0.0
    if num_groups < _MIN_GROUPS or min(hits, n - hits) < _MIN_ERRORS:
        return 1.0
    hits_of = np.bincount(group, correct)
    # Per group, and summed: groups, pictures, squared sizes, hits, and hits^2 / size.
    each = np.array([np.ones(num_groups), sizes, sizes**2, hits_of, hits_of**2 / sizes])
    total = each.sum(axis=1)
    without = _anova_correlation(total[:, None] - each)
    error = float(np.sqrt((num_groups - 1) * without.var()))
    return float(np.clip(_anova_correlation(total) + error, 0.0, 1.0))


def _anova_correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    num_groups, n, squares, hits, means = sums
    between = (means - hits**2 / n) / (num_groups - 1)
    within = (hits - means) / np.maximum(n - num_groups, 1)
    mean_size = (n - squares / n) / (num_groups - 1)
    whole = between + (mean_size - 1) * within
    return np.asarray((between - within) / np.where(whole > 0, whole, np.inf))


def share_interval(share: float, size: float) -> list[float]:
    """Return Jeffreys' interval of a share (Brown, Cai and DasGupta 2001).

    It stays honest where nothing went wrong: 60 of 60 is 96-100 %, not 100-100 %. An end beyond
    which no data can lie is the share itself, as in that paper.

    Args:
        share: 0..1.
        size: Number of independent pictures, whole or not.
    """
    low, high = beta.ppf(_ENDS, size * share + 0.5, size * (1 - share) + 0.5)
    return [
        0.0 if share <= 0.0 else float(min(low, share)),
        1.0 if share >= 1.0 else float(max(high, share)),
    ]


def selected_error_low(errors: float, size: float, min_errors: float) -> float:
    """Return the lower end of an error rate that is only looked at from some errors on.

    Data sets with more errors than usual are looked at more often, so that the usual end is too
    high. Here the chance of so many errors is divided by that of being looked at (conditional
    inference: Fithian, Sun and Taylor 2014). With many errors it is Jeffreys' end.

    Args:
        errors: Found, at least `min_errors`.
        size: Number of independent pictures, whole or not.
        min_errors: From which on it is looked at.
    """

    def excess(log_rate: float) -> float:
        found = beta.logcdf(np.exp(log_rate), errors + 0.5, size - errors + 0.5)
        looked_at = beta.logcdf(np.exp(log_rate), min_errors, size - min_errors + 1)
        return float(found - looked_at - np.log(_ENDS[0]))

    usual = float(beta.ppf(_ENDS[0], errors + 0.5, size - errors + 0.5))
    lowest = float(np.log(_MIN_RATE))
    if excess(lowest) >= 0:
        return 0.0
    return float(np.exp(brentq(excess, lowest, np.log(usual) + 1e-6)))


def draw_share(
    share: float, size: float, random: np.random.Generator, num_draws: int
) -> NDArray[np.float64]:
    """Draw from the Jeffreys posterior of a share: float64 (num_draws,), each 0..1.

    Args:
        share: 0..1.
        size: Number of independent pictures, whole or not.
        random: Source of the draws.
        num_draws: Number of draws.
    """
    return random.beta(size * share + 0.5, size * (1 - share) + 0.5, size=num_draws)


def mean_interval(shares: NDArray[np.float64], sizes: NDArray[np.float64]) -> list[float]:
    """Return the interval of the mean of shares, such as balanced accuracy.

    It is Jeffreys' interval of the mean p with the number of pictures that has the same variance
    (Korn and Graubard 1998): p (1 - p) / sum(w^2 p_k (1 - p_k) / n_k), with w = 1 / K. Each p_k is
    shrunk by two pictures towards p, and the number is never above K^2 / sum(1 / n_k), that of
    equal shares. Intervals of each class's own Jeffreys posterior would be pulled towards 50 % by
    one picture per class: 30 classes of 12 pictures, all correct, were given as 94-98 %.

    Args:
        shares: (K,), each 0..1.
        sizes: (K,) numbers of independent pictures, whole or not.
    """
    mean, num_classes = float(shares.mean()), len(shares)
    shrunk = (sizes * shares + 2 * mean) / (sizes + 2)
    variance = float((shrunk * (1 - shrunk) / sizes).sum()) / num_classes**2
    largest = num_classes**2 / float((1 / sizes).sum())
    size = largest if variance <= 0 else min(largest, mean * (1 - mean) / variance)
    return share_interval(mean, size)


def next_hundred_interval(share: float, size: float) -> list[int]:
    """Return the range of the number of correct answers among the next 100 pictures.

    The beta-binomial predictive distribution of the Jeffreys posterior (Krishnamoorthy and Peng
    2011): wider than the interval of the share by the chance in 100 pictures.

    Args:
        share: Measured, 0..1.
        size: Number of independent pictures that it was measured on, whole or not.
    """
    low, high = betabinom.ppf(_ENDS, 100, size * share + 0.5, size * (1 - share) + 0.5)
    return [int(min(low, np.floor(share * 100))), int(max(high, np.ceil(share * 100)))]


def mean_loss_interval(losses: NDArray[np.float64], groups: NDArray[np.int64]) -> list[float]:
    """Return the interval of a mean of positive losses, normal on the scale of logarithms.

    Its standard error is that of means of groups (Liang and Zeger 1986).

    Args:
        losses: (n,), each at least 0.
        groups: (n,) group numbers.
    """
    mean = float(losses.mean())
    error = standard_error(losses, groups)
    if mean <= 0:
        return [0.0, 0.0]
    factor = float(np.exp(norm.ppf(_ENDS[1]) * error / mean))
    return [mean / factor, mean * factor]


def standard_error(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """Return the standard error of a mean of values in groups (Liang and Zeger 1986)."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, values - values.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1)) / len(values))


def roc_auc_interval(
    area: float,
    influences: NDArray[np.float64],
    class_sizes: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    design: Design,
) -> list[float]:
    """Return the interval of the mean over classes of one-versus-rest ROC AUC.

    Newcombe's (2006) method 5: the areas from which the measured one is at most 1.96 standard
    errors away, each with its own Hanley-McNeil variance. Perfectly ranked pictures so have an
    interval of a width, which a bootstrap denies them. The variance is scaled up to that of DeLong,
    DeLong and Clarke-Pearson (1988) where that is larger, and to that of Obuchowski (1997) where
    pictures lie in groups.

    Args:
        area: Mean area, 0..1.
        influences: (n,) of each picture on the area; they add up to 0.
        class_sizes: (K,) pictures of each class present, at least two classes.
        groups: (n,) group numbers.
        design: Design of the answers; a correlation of 1 is unknown, and Kish's design effect is
            used.
    """
    total = len(influences)
    positives, negatives = class_sizes, total - class_sizes
    areas = len(class_sizes) / 2  # independent ones: those of two classes are the same

    def variance(theta: float) -> float:
        """Return Hanley and McNeil's variance (1982) in Newcombe's form."""
        extra = (1 - theta) / (2 - theta) + theta / (1 + theta)
        each = theta * (1 - theta) * (1 + (total / 2 - 1) * extra) / (positives * negatives)
        return float(each.mean()) / areas

    independent = float((influences**2).sum()) * total / (total - 1)
    design_effect = total / Design(1.0).size(groups)
    if design.correlation < 1.0 and independent > 0:
        _, group = np.unique(groups, return_inverse=True)
        sums = np.bincount(group, influences)
        clustered = float((sums**2).sum()) * len(sums) / (len(sums) - 1)
        design_effect = max(1.0, clustered / independent)
    here = variance(area)
    scale = design.head_factor * design_effect * (max(1.0, independent / here) if here > 0 else 1.0)
    z = float(norm.ppf(_ENDS[1]))

    def distance(theta: float) -> float:
        return (area - theta) ** 2 - z**2 * scale * variance(theta)

    # At 0 and 1 the variance vanishes, so that those are roots, too.
    low = 0.0 if area <= 0.0 else brentq(distance, 0.0, min(area, 1.0 - _ROC_AUC_EPSILON))
    high = 1.0 if area >= 1.0 else brentq(distance, max(area, _ROC_AUC_EPSILON), 1.0)
    return [float(low), float(high)]
