"""Tests of a difference of two shares on the same pictures: Tango's score test, and the sign test.

Plain Python: the service's image has neither NumPy nor SciPy.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

_Z: Final = NormalDist().inv_cdf(0.95)
_BISECTIONS: Final = 60  # of an interval of length 2: exact to the last bit but few


def score_interval(gained: float, lost: float, size: float, z: float = _Z) -> tuple[float, float]:
    """Return Tango's (1998) interval of (gained - lost) / size.

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

        outside = limit - sign * -1e-9
        return limit if excess(outside) <= 0 else _root(excess, found, outside)

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
    share = (math.sqrt(max(b**2 - 8 * size * c, 0.0)) - b) / (4 * size)
    variance = size * (2 * share + difference * (1 - difference))
    excess = gained - lost - size * difference
    return excess / math.sqrt(variance) if variance > 0 else 0.0


def sign_test(more: int, fewer: int) -> float:
    """Return the exact one-sided p-value of `more` to `fewer` if both are as likely."""
    changed = more + fewer
    ways, of_count = 0, math.comb(changed, more)
    for count in range(more, changed + 1):
        ways += of_count
        of_count = of_count * (changed - count) // (count + 1)
    return ways / (1 << changed)


def _root(function: Callable[[float], float], below: float, above: float) -> float:
    """Return where a function changes from negative (at `below`) to positive, by bisection."""
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        if function(middle) > 0:
            above = middle
        else:
            below = middle
    return (below + above) / 2
