"""Paired test that a new model is not worse than an old one by a margin, on the same pictures.

A test that finds no difference has not shown that there is none. So the question is turned: the
new model passes if it is shown, at a one-sided 5 %, to be less than a margin worse. The test is
Tango's (1998) score test of a difference of paired shares, whose level holds in small samples and
where no picture is answered differently; its inversion is the interval.

Pictures of one group are not independent: the table is scaled to the number of independent
pictures that they are worth (Rao and Scott 1992; for paired shares Obuchowski 1998). Where few or
no pictures are answered differently, their correlation is derived from that of the old model's
scores: a picture changes its answer if its score is among the lowest. Classes count equally, as in
balanced accuracy.

Plain Python: the service's image has neither NumPy nor SciPy.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Final, Literal

from models.correlation import (
    MIN_EVENTS,
    group_correlation,
    independent_pictures,
    rare_event_correlation,
)

DEFAULT_MARGIN: Final = 0.015
"""Loss of balanced accuracy that a new model must be shown to stay below."""

Verdict = Literal["better", "not worse", "worse", "not shown"]

_Z: Final = NormalDist().inv_cdf(0.95)
_BISECTIONS: Final = 60  # of an interval of length 2: exact to the last bit but few


@dataclass(frozen=True)
class PairedTest:
    """Balanced accuracy of a new model minus that of an old one, and the test of a margin.

    Attributes:
        pictures: Number of pictures that both models answered.
        old: Balanced accuracy of the old model on them.
        new: Balanced accuracy of the new model on them.
        difference: `new` - `old`; negative if the new model is worse.
        interval_90: Of `difference`; its lower end is the one-sided 95 % bound.
        margin: Loss that is not acceptable.
        resolution: Smallest margin that these pictures can show: with no difference at all.
        gained: Pictures that only the new model has correct (fixed).
        lost: Pictures that only the old model has correct (broken).
    """

    pictures: int
    old: float
    new: float
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

    @property
    def verdict(self) -> Verdict:
        """What is shown.

        `better`: by anything; `not worse`: by the margin or more; `worse`: by anything, and the
        margin is not excluded; `not shown`: none of these. That there is a difference at all takes
        the exact sign test at 5 %, too: six pictures to none, or eight to one. The score test is
        too easily convinced by so few (seven to two).
        """
        low, high = self.interval_90
        if low > 0 and _differ(self.gained, self.lost):
            return "better"
        if self.not_worse:
            return "not worse"
        return "worse" if high < 0 and _differ(self.lost, self.gained) else "not shown"

    @property
    def sentence(self) -> str:
        """One sentence on the verdict, with the figures that it rests on."""
        margin = f"{100 * self.margin:g} points"
        meaning = {
            "better": "It is shown to be better",
            "not worse": f"It is shown not to be worse by {margin} or more",
            "worse": "It is shown to be worse",
            "not shown": f"It is not shown to be worse, nor to be within {margin}",
        }[self.verdict]
        if self.verdict == "not shown" and self.resolution >= self.margin:
            meaning += f" (these pictures can show {100 * self.resolution:.1f} points at best)"
        low, high = map(_points, self.interval_90)
        return (
            f"{meaning}: balanced accuracy {self.old:.1%} -> {self.new:.1%} on the same "
            f"{self.pictures:,} pictures, a difference of {_points(self.difference)} points "
            f"({low} to {high}, each end with 95 % confidence); {self.gained:,} fixed, "
            f"{self.lost:,} broken."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, the verdict and its sentence, fit for JSON."""
        return asdict(self) | {
            "interval_90": list(self.interval_90),
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def _differ(more: int, fewer: int) -> bool:
    """Return True if a two-sided sign test at 5 % shows `more` to be more often the case."""
    changed = more + fewer
    ways, of_count = 0, math.comb(changed, more)
    for count in range(more, changed + 1):
        ways += of_count
        of_count = of_count * (changed - count) // (count + 1)
    return 40 * ways <= 1 << changed


def paired_test(
    old: Iterable[object],
    new: Iterable[object],
    classes: Iterable[Hashable],
    groups: Iterable[Hashable],
    scores: Iterable[float],
    *,
    margin: float = DEFAULT_MARGIN,
) -> PairedTest:
    """Test that a new model is not worse than an old one by a margin.

    Args:
        old: (n), n > 0: true where the old model is correct.
        new: (n): the same of the new model, on the same pictures.
        classes: (n): true class of each picture, by any name or number.
        groups: (n): group of each picture, by any name or number.
        scores: (n): by how much the old model prefers the true class to the best other.
        margin: Loss of balanced accuracy that is not acceptable.
    """
    was, now = [bool(each) for each in old], [bool(each) for each in new]
    classes, groups, scores = _numbered(classes), _numbered(groups), list(map(float, scores))
    changed = [one != other for one, other in zip(was, now, strict=True)]
    correlation = rare_event_correlation(scores, classes, groups, share=margin)
    if sum(changed) >= MIN_EVENTS:
        correlation = max(correlation, group_correlation([not each for each in changed], groups))
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(classes):
        members[label].append(index)
    num_classes = len(members)

    def class_mean(values: Sequence[bool]) -> float:
        return sum(
            sum(values[index] for index in of) / len(of) for of in members.values()
        ) / num_classes  # fmt: skip

    sizes = (
        independent_pictures([groups[index] for index in of], correlation)
        for of in members.values()
    )
    size = num_classes**2 / sum(1 / each for each in sizes)  # of equal classes with that variance
    fixed = [after and not before for before, after in zip(was, now, strict=True)]
    broken = [before and not after for before, after in zip(was, now, strict=True)]
    gained, lost = size * class_mean(fixed), size * class_mean(broken)
    return PairedTest(
        pictures=len(was),
        old=class_mean(was),
        new=class_mean(now),
        difference=(gained - lost) / size,
        interval_90=score_interval(gained, lost, size),
        margin=margin,
        resolution=-score_interval(0.0, 0.0, size)[0],
        gained=sum(fixed),
        lost=sum(broken),
    )


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


def _points(difference: float) -> str:
    """Return a difference of shares in points, with its sign: "+0.4", and "0.0" without any."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _root(function: Callable[[float], float], below: float, above: float) -> float:
    """Return where a function changes from negative (at `below`) to positive, by bisection."""
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        if function(middle) > 0:
            above = middle
        else:
            below = middle
    return (below + above) / 2


def _numbered(names: Iterable[Hashable]) -> list[int]:
    """Return the number of each name, in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]
