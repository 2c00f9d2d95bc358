"""Statistics of repeats: percentiles, spread, ratios of values measured side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median of several repeats, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one or more values."""
        return cls(float(np.median(values)), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        if self.low == self.high:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, linear between ranks; NaN without values."""
    return float(np.percentile(values, percent)) if values else float("nan")


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Return the ratios of pairs measured one after the other, so that a slow minute hits both.

    Args:
        over: One value per repeat.
        under: Likewise, none of them 0.
    """
    return Spread.of([a / b for a, b in zip(over, under, strict=True)])
