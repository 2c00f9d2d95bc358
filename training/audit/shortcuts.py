"""Whether a class can be told without looking at what the picture shows.

Where all pictures of one class come from one camera, crawler or program, a network may learn
that instead of the subject: it is right on the folder it was trained on and wrong elsewhere. So
a small classifier is given what says nothing of the subject, one family of facts at a time.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from training.data.image_stats import PictureFacts
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes

# Balanced accuracy that the interval's lower end must reach for a warning. Honest differences
# stay below: in photographs of faces with and without masks light alone gave 0.7, for masks are
# worn outdoors and in winter. A class darkened by a quarter gave 0.96, blown up from half its
# resolution 0.94, of another file format 1.0.
WARNING_LEVEL: Final = 0.80

# Fewest pictures on either side: with fewer, even a perfect answer's interval is wider than the
# distance from the level to 1.
_FEWEST: Final = 20

_FOLDS: Final = 5
_DRAWS: Final = 4000  # behind an interval that is compared with two digits
_MOST: Final = 4000  # pictures a class that are looked at; more sharpen nothing


@dataclass(frozen=True)
class Shortcut:
    """How well one family of facts tells one class from all others.

    Attributes:
        family: Which facts, a key of `FAMILIES`.
        label: Class index told from the rest; of two classes always the first.
        balanced_accuracy: Out of fold, 0.5 is chance.
        interval_95: Of it, (low, high).
        typical: Median of each fact, in the class and in the rest.
    """

    family: str
    label: int
    balanced_accuracy: float
    interval_95: tuple[float, float]
    typical: dict[str, tuple[float, float]]

    @property
    def is_warning(self) -> bool:
        """Whether the facts tell the class well enough to warn."""
        return self.interval_95[0] >= WARNING_LEVEL

    def as_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """For the report."""
        return {
            "family": self.family,
            "class": labels[self.label],
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy_interval_95": list(self.interval_95),
            "median_in_class_and_rest": {name: list(pair) for name, pair in self.typical.items()},
        }


def _size(fact: PictureFacts) -> dict[str, float]:
    width, height = fact.width_px, fact.height_px
    return {
        "width_px": width,
        "height_px": height,
        "pixels": width * height,
        "aspect": width / height,
    }


def _file(fact: PictureFacts) -> dict[str, float | str]:
    return {
        "format": fact.format,
        "mode": fact.mode,
        "bytes_per_pixel": fact.file_bytes / (fact.width_px * fact.height_px),
    }


def _sharpness(fact: PictureFacts) -> dict[str, float]:
    return {
        "sharpness": fact.sharpness,
        "sharpness_by_contrast": fact.sharpness / max(fact.contrast**2, 1e-6),
        "fineness": fact.fineness,
        "shorter_px": min(fact.width_px, fact.height_px),  # blown up to the input: softer
    }


def _light(fact: PictureFacts) -> dict[str, float]:
    return {
        "brightness": fact.brightness,
        "contrast": fact.contrast,
        "darkest": fact.darkest,
        "lightest": fact.lightest,
    }


def _colour(fact: PictureFacts) -> dict[str, float]:
    total = max(fact.red + fact.green + fact.blue, 1e-6)
    return {"redness": fact.red / total, "blueness": fact.blue / total}


FAMILIES: Final[dict[str, Callable[[PictureFacts], dict[str, Any]]]] = {
    "size": _size,
    "file": _file,
    "sharpness": _sharpness,
    "light": _light,
    "colour": _colour,
}


def find_shortcuts(
    facts: Sequence[PictureFacts],
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    seed: int = 0,
) -> list[Shortcut]:
    """Try to tell each class from the others by each family of facts.

    Args:
        facts: One a picture.
        classes: (n,) class indices.
        groups: (n,) group numbers; copies on both sides would make any fact look telling.
        count: Classes K.
        seed: Of folds, draws, and of which pictures of a very large class are looked at.

    Returns:
        One a family and class that has enough pictures, warnings and others alike.

    Raises:
        TooFewPictures: As `training.evaluation.cross_validation.grouped_folds`.
    """
    random = np.random.default_rng(seed)
    found = []
    for label in range(1 if count == 2 else count):  # of two, one is what the other is not
        one = (classes == label).astype(np.int64)
        if min(one.sum(), len(one) - one.sum()) < _FEWEST:
            continue
        chosen = np.sort(
            np.concatenate(
                [random.permutation(np.flatnonzero(one == side))[:_MOST] for side in (0, 1)]
            )
        )
        side, group = one[chosen], groups[chosen]
        if min(len(np.unique(group[side == s])) for s in (0, 1)) < _FOLDS:
            continue
        folds = grouped_folds(side, group, folds=_FOLDS, seed=seed)
        for family, look in FAMILIES.items():
            rows = [look(facts[place]) for place in chosen]
            table = _table(rows)
            answers = np.zeros(len(chosen), dtype=np.int64)
            for fit_on, judge_on in folds:
                answers[judge_on] = _answers(table[fit_on], side[fit_on], table[judge_on], seed)
            share, interval = _judge(answers == side, side, group, random)
            found.append(Shortcut(family, label, share, interval, _typical(rows, side)))
    return found


def _table(rows: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Rows of facts as numbers; a fact that is a word gives one column a word."""
    columns = []
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, str):
            columns += [[float(value == word) for value in values] for word in sorted(set(values))]
        else:
            columns.append(values)
    return np.array(columns, dtype=np.float64).T


def _answers(
    fit_on: NDArray[np.float64], side: Classes, judge_on: NDArray[np.float64], seed: int
) -> Classes:
    """Answer 0 or 1 for each row, both sides weighing the same."""
    # Forty stumps of two questions: enough for "small or large, but not between", which a line
    # through the facts would miss, and too few to learn single pictures by heart.
    model = GradientBoostingClassifier(
        n_estimators=40, max_depth=2, learning_rate=0.2, min_samples_leaf=5, random_state=seed
    )
    shares = np.bincount(side, minlength=2) / len(side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fact that is constant divides by nothing
        model.fit(fit_on, side, sample_weight=0.5 / shares[side])
    return np.asarray(model.predict(judge_on), dtype=np.int64)


def _judge(
    right: NDArray[np.bool_], side: Classes, groups: NDArray[np.int64], random: np.random.Generator
) -> tuple[float, tuple[float, float]]:
    """Balanced accuracy and its interval: Jeffreys' for each side, groups counting by Kish."""
    shares, draws = [], []
    for which in (0, 1):
        among = side == which
        _, sizes = np.unique(groups[among], return_counts=True)
        effective = sizes.sum() ** 2 / (sizes**2).sum()
        shares.append(float(right[among].mean()))
        hits = effective * shares[-1]
        draws.append(random.beta(hits + 0.5, effective - hits + 0.5, size=_DRAWS))
    low, high = np.percentile(np.mean(draws, axis=0), (2.5, 97.5))
    return float(np.mean(shares)), (float(low), float(high))


def _typical(rows: Sequence[dict[str, Any]], side: Classes) -> dict[str, tuple[float, float]]:
    """Median of each number in the class and in the rest; of a word, share of the commonest."""
    typical = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, str):
            word = max(sorted(set(values)), key=values.count)
            is_it = np.array([value == word for value in values], dtype=np.float64)
            shares = (float(is_it[side == 1].mean()), float(is_it[side == 0].mean()))
            typical[f"share of {name} {word}"] = shares
        else:
            column = np.array(values, dtype=np.float64)
            typical[name] = (
                float(np.median(column[side == 1])),
                float(np.median(column[side == 0])),
            )
    return typical
