"""Paired test that one model is not worse than another by a margin, on the same pictures.

A test that finds no difference has not shown that there is none. So the question is turned: the
new model is taken if it is shown, at a one-sided 5 %, to be less than a margin worse. The test is
Tango's (1998) score test of a difference of paired shares, whose level holds in small samples and
where no picture is answered differently; its inversion is the interval.

Pictures of one group are not independent: the table is scaled to the number of independent
pictures that they are worth (Rao and Scott 1992; for paired shares Obuchowski 1998). Where few or
no pictures are answered differently, their correlation is derived from that of the old model's
scores: a picture changes its answer if its score is among the lowest. Classes count equally, as in
balanced accuracy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from training.evaluation.head import Classes
from training.evaluation.intervals import Design

_Z: Final = float(norm.ppf(0.95))
_MIN_CHANGED: Final = 10  # pictures of another answer that show their own correlation
_MIN_GROUPS: Final = 15  # that show a correlation at all
_SAME: Final = 0.999  # correlation of scores from which they are the same


@dataclass(frozen=True)
class PairedTest:
    """Balanced accuracy of a new model minus that of an old one, and the test of a margin.

    Attributes:
        difference: Difference on these pictures; negative if the new model is worse.
        interval_90: Of `difference`; its lower end is the one-sided 95 % bound.
        margin: Loss that is not acceptable.
        resolution: Smallest margin that these pictures can show: with no difference at all.
        gained: Pictures that only the new model has correct.
        lost: Pictures that only the old model has correct.
    """

    difference: float
    interval_90: tuple[float, float]
    margin: float
    resolution: float
    gained: int
    lost: int

    @property
    def not_worse(self) -> bool:
        """True if the new model is shown to be less than the margin worse."""
        return self.interval_90[0] > -self.margin


def paired_test(
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    classes: Classes,
    groups: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    margin: float,
) -> PairedTest:
    """Test that a new model is not worse than an old one by a margin.

    Args:
        old: (n,): true where the old model is correct.
        new: (n,): the same of the new model, on the same pictures.
        classes: (n,).
        groups: (n,) group numbers.
        scores: (n,): by how much the old model prefers the true class to the best other.
        margin: Loss of balanced accuracy that is not acceptable.
    """
    gain = new.astype(np.int64) - old  # -1, 0 or 1 per picture
    correlation = rare_event_correlation(scores, classes, groups, share=margin)
    if (gain != 0).sum() >= _MIN_CHANGED:
        correlation = max(correlation, Design.of(gain == 0, groups).correlation)
    design = Design(correlation)
    present = np.unique(classes)
    sizes = np.array([design.size(groups[classes == k]) for k in present])
    size = float(len(present) ** 2 / (1 / sizes).sum())  # of equal classes with that variance
    gained = size * float(np.mean([(gain[classes == k] > 0).mean() for k in present]))
    lost = size * float(np.mean([(gain[classes == k] < 0).mean() for k in present]))
    return PairedTest(
        difference=(gained - lost) / size,
        interval_90=score_interval(gained, lost, size),
        margin=margin,
        resolution=-score_interval(0.0, 0.0, size)[0],
        gained=int((gain > 0).sum()),
        lost=int((gain < 0).sum()),
    )


def rare_event_correlation(
    scores: NDArray[np.float64], classes: Classes, groups: NDArray[np.int64], *, share: float
) -> float:
    """Return the correlation within groups of "the score is among the lowest", 0..1.

    The scores' own correlation has the analysis-of-variance estimator, within classes; it is 1
    with under 15 groups. That of the event follows from the bivariate normal distribution: at 0.3
    it is 0.05 for the lowest 1.5 %, at 0.95 still 0.69.

    Args:
        scores: (n,).
        classes: (n,): their means may differ.
        groups: (n,) group numbers.
        share: Share of the pictures that the event happens to.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, num_groups = len(scores), len(sizes)
    if n == num_groups:
        return 0.0
    if num_groups < _MIN_GROUPS:
        return 1.0
    centred = scores - (np.bincount(classes, scores) / np.maximum(np.bincount(classes), 1))[classes]
    means = np.bincount(group, centred) / sizes
    between = float((sizes * means**2).sum() / (num_groups - 1))
    within = float(((centred - means[group]) ** 2).sum() / (n - num_groups))
    mean_size = (n - (sizes**2).sum() / n) / (num_groups - 1)
    total = between + (mean_size - 1) * within
    latent = float(np.clip((between - within) / total, 0.0, 1.0)) if total > 0 else 1.0
    if latent >= _SAME or share >= 0.5:
        return latent
    limit = float(norm.ppf(share))
    both = float(multivariate_normal.cdf([limit, limit], cov=[[1.0, latent], [latent, 1.0]]))
    return float(np.clip((both - share**2) / (share * (1 - share)), 0.0, 1.0))


def score_interval(gained: float, lost: float, size: float, z: float = _Z) -> tuple[float, float]:
    """Return Tango's interval of (gained - lost) / size.

    Args:
        gained: Pictures that only the new model has correct, whole or not.
        lost: Pictures that only the old model has correct.
        size: All pictures.
        z: Normal quantile of each end; by default of one-sided 5 %.
    """
    found = (gained - lost) / size

    def bound(limit: float, sign: float) -> float:
        def excess(difference: float) -> float:
            return sign * score_statistic(gained, lost, size, difference) - z

        inside, outside = found, limit - sign * -1e-9
        if excess(outside) <= 0:
            return limit
        return float(brentq(excess, inside, outside))

    return bound(-1.0, 1.0), bound(1.0, -1.0)


def score_statistic(gained: float, lost: float, size: float, difference: float) -> float:
    """Return Tango's statistic, about standard normal if the true difference is `difference`.

    Args:
        gained: Pictures that only the new model has correct, whole or not.
        lost: Pictures that only the old model has correct.
        size: All pictures.
        difference: Share of correct answers of the new model minus that of the old one.
    """
    # Maximum-likelihood estimate of the share of lost pictures under the hypothesis.
    b = -gained - lost + (2 * size - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    share = (np.sqrt(max(b**2 - 8 * size * c, 0.0)) - b) / (4 * size)
    variance = size * (2 * share + difference * (1 - difference))
    excess = gained - lost - size * difference
    return float(excess / np.sqrt(variance)) if variance > 0 else 0.0
