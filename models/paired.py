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

A gain in one class must not hide a loss in another. So each class, and each slice, is tested for a
loss as well; Holm's (1979) correction bounds the chance to accuse any of them falsely at 5 %,
however many there are.

Plain Python: the service's image has neither NumPy nor SciPy.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Final, Literal

from models.correlation import (
    MIN_EVENTS,
    group_correlation,
    independent_pictures,
    rare_event_correlation,
)
from models.score_test import score_interval, sign_test
from models.text import percent

DEFAULT_MARGIN: Final = 0.015
"""Loss of balanced accuracy that a new model must be shown to stay below."""

Verdict = Literal["better", "not worse", "worse", "not shown"]

MAX_FALSE_ALARMS: Final = 0.05
"""Max probability that any class or slice is called worse if none has lost."""

_NORMAL: Final = NormalDist()


@dataclass(frozen=True)
class Part:
    """A class or a slice of the pictures, tested for a loss.

    Attributes:
        name: Such as `class mask` or `light: dark`.
        pictures: Its pictures that both models answered.
        gained: Those that only the new model has correct.
        lost: Those that only the old model has correct.
        interval_90: Of the difference of accuracies, of this part alone.
        p_value: Of no loss, by Holm's correction over all parts.
        worse: True if a loss is shown, and one of the margin or more is not excluded.
    """

    name: str
    pictures: int
    gained: int
    lost: int
    interval_90: tuple[float, float]
    p_value: float
    worse: bool


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
        parts: Each class and each slice, tested for a loss.
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
    parts: tuple[Part, ...] = ()

    @property
    def worse_parts(self) -> tuple[Part, ...]:
        """Classes and slices for which the new model is shown to be worse."""
        return tuple(part for part in self.parts if part.worse)

    @property
    def not_worse(self) -> bool:
        """True if the new model is shown to be less than the margin worse, and worse in no part."""
        return self.interval_90[0] > -self.margin and not self.worse_parts

    @property
    def verdict(self) -> Verdict:
        """What is shown.

        `better`: by anything; `not worse`: by the margin or more; `worse`: by anything, and the
        margin is not excluded, as a whole or in a class or slice; `not shown`: none of these. That
        there is a difference at all takes the exact sign test at 5 %, too: six pictures to none, or
        eight to one. The score test is too easily convinced by so few (seven to two).
        """
        low, high = self.interval_90
        if self.worse_parts:
            return "worse"
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
            "worse": f"It is shown to be worse{self.worse_for}",
            "not shown": f"It is not shown to be worse, nor to be within {margin}",
        }[self.verdict]
        low, high = map(_points, self.interval_90)
        return (
            f"{meaning}: balanced accuracy {percent(self.old)} -> {percent(self.new)} on the same "
            f"{self.pictures:,} pictures, a difference of {_points(self.difference)} points "
            f"({low} to {high}, each end with 95 % confidence); {self.gained:,} fixed, "
            f"{self.lost:,} broken. These pictures can exclude a loss of "
            f"{100 * self.resolution:.1f} points at best."
        )

    @property
    def worse_for(self) -> str:
        """Classes and slices for which it is shown to be worse, as the end of a phrase."""
        named = [
            f"{part.name} ({part.gained:,} fixed, {part.lost:,} broken of {part.pictures:,})"
            for part in self.worse_parts
        ]
        return f" for {' and '.join(named)}" if named else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, the verdict and its sentence, fit for JSON."""
        return asdict(self) | {
            "interval_90": list(self.interval_90),
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def _differ(more: int, fewer: int) -> bool:
    """Return True if a two-sided sign test at 5 % shows `more` to be more often the case."""
    return 2 * sign_test(more, fewer) <= 0.05


def paired_test(
    old: Iterable[object],
    new: Iterable[object],
    classes: Iterable[Hashable],
    groups: Iterable[Hashable],
    scores: Iterable[float],
    *,
    slices: Mapping[str, Sequence[str]] | None = None,
    margin: float = DEFAULT_MARGIN,
) -> PairedTest:
    """Test that a new model is not worse than an old one by a margin.

    Args:
        old: (n), n > 0: true where the old model is correct.
        new: (n): the same of the new model, on the same pictures.
        classes: (n): true class of each picture, by any name or number.
        groups: (n): group of each picture, by any name or number.
        scores: (n): by how much the old model prefers the true class to the best other.
        slices: By attribute, the slice of each of the n pictures; "" where it has none.
        margin: Loss of balanced accuracy that is not acceptable.
    """
    was, now = [bool(each) for each in old], [bool(each) for each in new]
    labels, groups, scores = list(classes), _numbered(groups), list(map(float, scores))
    classes = _numbered(labels)
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
        parts=_test_parts(
            _members(labels, slices or {}), fixed, broken, groups, correlation, margin=margin
        ),
    )


def _members(
    labels: Sequence[Hashable], slices: Mapping[str, Sequence[str]]
) -> dict[str, list[int]]:
    """Return the indices of the pictures of each class and each slice, by its name."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[f"class {label}"].append(index)
    for attribute, names in slices.items():
        for index, name in enumerate(names):
            if name:
                members[f"{attribute}: {name}"].append(index)
    return members


def _test_parts(
    members: Mapping[str, Sequence[int]],
    fixed: Sequence[bool],
    broken: Sequence[bool],
    groups: Sequence[int],
    correlation: float,
    *,
    margin: float,
) -> tuple[Part, ...]:
    """Test each part of the pictures for a loss, and correct for their number (Holm 1979)."""
    found = []
    for name, of in members.items():
        gained, lost = sum(fixed[index] for index in of), sum(broken[index] for index in of)
        share = independent_pictures([groups[index] for index in of], correlation) / len(of)
        # The sign test is exact if pictures are independent; the score test counts groups.
        z = (lost - gained) * math.sqrt(share / (gained + lost)) if gained + lost else 0.0
        p_value = max(_NORMAL.cdf(-z), sign_test(lost, gained))
        interval = score_interval(gained * share, lost * share, len(of) * share)
        found.append((p_value, Part(name, len(of), gained, lost, interval, 1.0, worse=False)))
    parts, largest = {}, 0.0
    for rank, (p_value, part) in enumerate(sorted(found, key=lambda one: one[0])):
        largest = max(largest, min((len(found) - rank) * p_value, 1.0))
        worse = largest <= MAX_FALSE_ALARMS and part.interval_90[0] <= -margin
        parts[part.name] = replace(part, p_value=largest, worse=worse)
    return tuple(parts[name] for name in members)


def _points(difference: float) -> str:
    """Return a difference of shares in points, with its sign: "+0.4", and "0.0" without any."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _numbered(names: Iterable[Hashable]) -> list[int]:
    """Return the number of each name, in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]
