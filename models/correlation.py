"""Correlation within groups, and the number of independent pictures that groups are worth.

Plain Python: the service's image has neither NumPy nor SciPy.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist
from typing import Final

MIN_EVENTS: Final = 10
"""Pictures of either outcome that show their own correlation."""

_NORMAL: Final = NormalDist()
_MIN_GROUPS: Final = 15  # that show a correlation at all
_SAME: Final = 0.999  # correlation of scores from which they are the same
_SIMPSON_STEPS: Final = 200


def independent_pictures(groups: Sequence[Hashable], correlation: float) -> float:
    """Return the number of independent pictures that pictures in groups are worth."""
    n = len(groups)
    mean_size = sum(size**2 for size in Counter(groups).values()) / n  # that a picture lies in
    return n / (1 + (mean_size - 1) * correlation)


def rare_event_correlation(
    scores: Iterable[float],
    classes: Iterable[Hashable],
    groups: Iterable[Hashable],
    *,
    share: float,
) -> float:
    """Return the correlation within groups of "the score is among the lowest", 0..1.

    The scores' own correlation has the analysis-of-variance estimator, within classes; it is 1
    with under 15 groups. That of the event follows from the bivariate normal distribution: at 0.3
    it is 0.05 for the lowest 1.5 %, at 0.95 still 0.69.

    Args:
        scores: (n).
        classes: (n): their means may differ.
        groups: (n).
        share: Share of the pictures that the event happens to.
    """
    values, labels, groups = list(map(float, scores)), list(classes), list(groups)
    sizes = Counter(groups)
    n, num_groups = len(values), len(sizes)
    if n == num_groups:
        return 0.0
    if num_groups < _MIN_GROUPS:
        return 1.0
    class_means = _means(values, labels)
    centred = [value - class_means[k] for value, k in zip(values, labels, strict=True)]
    means = _means(centred, groups)
    between = sum(size * means[group] ** 2 for group, size in sizes.items()) / (num_groups - 1)
    within = sum((value - means[g]) ** 2 for value, g in zip(centred, groups, strict=True))
    within /= n - num_groups
    mean_size = (n - sum(size**2 for size in sizes.values()) / n) / (num_groups - 1)
    total = between + (mean_size - 1) * within
    latent = min(max((between - within) / total, 0.0), 1.0) if total > 0 else 1.0
    if latent >= _SAME or share >= 0.5:
        return latent
    both = _both_below(_NORMAL.inv_cdf(share), latent)
    return min(max((both - share**2) / (share * (1 - share)), 0.0), 1.0)


def group_correlation(correct: Iterable[object], groups: Iterable[Hashable]) -> float:
    """Return the intraclass correlation of a yes or no within groups, 0..1.

    The analysis-of-variance estimator, consistent for binary outcomes, too (Ridout, Demetrio and
    Firth 1999), and one standard error more, from a jackknife over groups; bounded below by 0.
    With under 15 groups, or under 10 of either outcome, it is too uncertain: it is taken to be 1.

    Args:
        correct: (n).
        groups: (n).
    """
    hits_of: dict[Hashable, int] = defaultdict(int)
    sizes: Counter[Hashable] = Counter()
    for each, group in zip(correct, groups, strict=True):
        sizes[group] += 1
        hits_of[group] += bool(each)
    n, num_groups, hits = sizes.total(), len(sizes), sum(hits_of.values())
    if n == num_groups:
        return 0.0
    if num_groups < _MIN_GROUPS or min(hits, n - hits) < MIN_EVENTS:
        return 1.0
    # Per group, and summed: groups, pictures, squared sizes, hits, and hits^2 / size.
    each_group = [
        (1.0, size, size**2, hits_of[group], hits_of[group] ** 2 / size)
        for group, size in sizes.items()
    ]
    total = tuple(map(sum, zip(*each_group, strict=True)))
    without = [
        _anova_correlation(tuple(all_ - own for all_, own in zip(total, row, strict=True)))
        for row in each_group
    ]
    mean = sum(without) / num_groups
    variance = sum((value - mean) ** 2 for value in without) / num_groups
    error = math.sqrt((num_groups - 1) * variance)
    return min(max(_anova_correlation(total) + error, 0.0), 1.0)


def _means(values: Sequence[float], keys: Sequence[Hashable]) -> dict[Hashable, float]:
    """Return the mean of the values of each key."""
    sums: dict[Hashable, float] = defaultdict(float)
    for value, key in zip(values, keys, strict=True):
        sums[key] += value
    counts = Counter(keys)
    return {key: total / counts[key] for key, total in sums.items()}


def _anova_correlation(sums: Sequence[float]) -> float:
    num_groups, n, squares, hits, means = sums
    between = (means - hits**2 / n) / (num_groups - 1)
    within = (hits - means) / max(n - num_groups, 1)
    mean_size = (n - squares / n) / (num_groups - 1)
    whole = between + (mean_size - 1) * within
    return (between - within) / whole if whole > 0 else 0.0


def _both_below(limit: float, correlation: float) -> float:
    """Return the probability that two standard normal variables are both below a limit.

    Sheppard's integral over the correlation, in the angle whose sine it is, by Simpson's rule.
    """
    angle = math.asin(correlation)
    step = angle / _SIMPSON_STEPS

    def density(index: int) -> float:
        return math.exp(-(limit**2) / (1 + math.sin(index * step)))

    inner = sum(density(i) * (4 if i % 2 else 2) for i in range(1, _SIMPSON_STEPS))
    integral = (density(0) + inner + density(_SIMPSON_STEPS)) * step / 3
    return _NORMAL.cdf(limit) ** 2 + integral / (2 * math.pi)
