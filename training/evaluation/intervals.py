"""95 % intervals: Jeffreys' of a share, with Kish's effective sample size, and of ROC AUC."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_AUC_DRAWS: Final = 1000  # fix the ends of the interval to about 0.05 points
_MAX_AUC_WEIGHTS: Final = 2_000_000  # numbers in memory at once: 16 MB


def percentile_interval(draws: NDArray[np.float64]) -> list[float]:
    """Return the 2.5th and the 97.5th percentile of draws."""
    return [float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))]


def draw_share(
    correct: NDArray[np.bool_],
    groups: NDArray[np.int64],
    subset: NDArray[np.bool_],
    random: np.random.Generator,
    num_draws: int,
) -> NDArray[np.float64]:
    """Draw the share of correct answers in a subset from its Jeffreys posterior.

    Jeffreys' interval (Brown, Cai and DasGupta 2001) stays honest where nothing went wrong: 60 of
    60 is 96-100 %, not 100-100 %. Pictures of one group are not independent, so the subset counts
    as many pictures as Kish's effective sample size (1965) of its groups.

    Args:
        correct: (n,).
        groups: (n,) group numbers.
        subset: (n,), true for at least one picture.
        random: Source of the draws.
        num_draws: Number of draws.

    Returns:
        float64 (num_draws,), each 0..1.
    """
    _, sizes = np.unique(groups[subset], return_counts=True)
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    hits = effective * correct[subset].mean()
    return random.beta(hits + 0.5, effective - hits + 0.5, size=num_draws)


def roc_auc_interval(
    mean_auc: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: NDArray[np.int64],
    random: np.random.Generator,
) -> list[float]:
    """Return the 95 % interval of ROC AUC, by a bootstrap over groups.

    Args:
        mean_auc: Picture weights (draws, n) -> area of each draw that has one.
        groups: (n,) group numbers.
        random: Source of the draws.
    """
    _, group = np.unique(groups, return_inverse=True)
    num_groups = int(group.max()) + 1
    chunk = min(_AUC_DRAWS, max(1, _MAX_AUC_WEIGHTS // len(groups)))
    areas: list[float] = []
    for _ in range(0, _AUC_DRAWS, chunk):
        times = random.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=chunk)
        areas += mean_auc(times[:, group].astype(np.float64)).tolist()  # (chunk, n)
    return percentile_interval(np.array(areas))
