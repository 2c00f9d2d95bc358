"""Shortcuts: statistics that predict the class without the subject.

If all pictures of one class come from one camera, crawler or program, a network may learn that
instead of the subject: it is correct on the folder it was trained on and wrong elsewhere. So a
small classifier is fitted on statistics that do not depend on the subject, one family at a time,
and compared with its accuracy on permuted statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from training.audit.best_split import find_best_split, permutation_p_value, to_bins
from training.data.image_stats import ImageStats
from training.evaluation.head import Classes
from training.evaluation.intervals import mean_interval

# Balanced accuracy that the interval's lower end must reach for a warning. Innocent differences
# stay below: in photographs of faces with and without masks light alone gave 0.7, because masks
# are worn outdoors and in winter. A class darkened by a quarter gave 0.91, enlarged from half its
# resolution 0.86 and 0.91, of another file format 1.0.
_MIN_BALANCED_ACCURACY: Final = 0.80

# Independent pictures, one per group: of a class, and in all. With fewer, even a perfect answer's
# interval is about as wide as the distance from the limit to 1.
MIN_PICTURES_PER_CLASS: Final = 10
MIN_PICTURES: Final = 40
_MAX_PICTURES: Final = 2000  # more sharpen nothing

_MAX_P_VALUE: Final = 0.05  # of a family's permutation test, after Holm's correction

# Difference of the share of a format or mode, and p-value after Holm's correction, from which it
# is a warning.
_MIN_WORD_DIFFERENCE: Final = 0.3
_MAX_WORD_P_VALUE: Final = 0.01
SHARE_OF: Final = "share of "  # opens the name of a median that is a word's share


@dataclass(frozen=True)
class Shortcut:
    """Result of predicting some classes against all others from one family of statistics.

    Attributes:
        family: A key of `FAMILIES`.
        inside: Indices of the classes predicted against the rest.
        balanced_accuracy: Out of fold, 0.5 is chance.
        interval_95: Interval of the balanced accuracy, (low, high).
        medians: Median of each statistic, in the classes and in the rest.
        p_value: Of the permutation test or of Fisher's, before Holm's correction; 1 if not tested.
        is_warning: True if the statistics predict the classes well enough to warn.
    """

    family: str
    inside: tuple[int, ...]
    balanced_accuracy: float
    interval_95: tuple[float, float]
    medians: dict[str, tuple[float, float]]
    p_value: float = 1.0
    is_warning: bool = False

    def as_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the shortcut as it stands in a finding's details."""
        return {
            "family": self.family,
            "class": labels[self.inside[0]],
            "classes": [labels[k] for k in self.inside],
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy_interval_95": list(self.interval_95),
            "median_in_class_and_rest": {name: list(pair) for name, pair in self.medians.items()},
        }


FAMILIES: Final[dict[str, Callable[[ImageStats], dict[str, Any]]]] = {
    "size": lambda one: {
        "width_px": one.width_px,
        "height_px": one.height_px,
        "pixels": one.width_px * one.height_px,
        "aspect": one.width_px / one.height_px,
    },
    "file": lambda one: {
        "format": one.format,
        "mode": one.mode,
        "bytes_per_pixel": one.file_bytes / (one.width_px * one.height_px),
    },
    "sharpness": lambda one: {
        "sharpness": one.sharpness,
        "sharpness_by_contrast": one.sharpness / max(one.contrast**2, 1e-6),
        "fineness": one.fineness,
        "shorter_px": min(one.width_px, one.height_px),  # enlarged to the input: softer
    },
    "light": lambda one: {
        "brightness": one.brightness,
        "contrast": one.contrast,
        "darkest": one.darkest,
        "lightest": one.lightest,
    },
    "colour": lambda one: {
        "redness": one.red / max(one.red + one.green + one.blue, 1e-6),
        "blueness": one.blue / max(one.red + one.green + one.blue, 1e-6),
    },
}
"""Statistics of a picture by family: numbers or words."""


def find_shortcuts(
    stats: Sequence[ImageStats], classes: Classes, groups: NDArray[np.int64], *, seed: int = 0
) -> list[Shortcut]:
    """Find the split of the classes that each family of statistics predicts best.

    Args:
        stats: (n) statistics.
        classes: (n,) class indices.
        groups: (n,) group numbers. One picture per group is used: copies in two folds would make
            any statistic predict the class.
        seed: Seed of folds, permutations, and the sample of a very large data set.

    Returns:
        One shortcut per family, warnings or not; none if there are too few pictures.
    """
    chosen = _independent(classes, groups, np.random.default_rng(seed))
    if len(chosen) < MIN_PICTURES:
        return []
    of, found = classes[chosen], []
    for family, select in FAMILIES.items():
        rows = [select(stats[index]) for index in chosen]
        bins = to_bins([[row[name] for row in rows] for name in rows[0]])
        split = find_best_split(bins, of, min_pictures=MIN_PICTURES_PER_CLASS, seed=seed)
        if split is None:
            return []
        low, high = mean_interval(np.array(split.accuracies), np.array(split.counts, np.float64))
        # A family without effect is no warning, whatever its p-value: it costs no permutations.
        p_value = 1.0
        if low >= _MIN_BALANCED_ACCURACY:
            p_value = permutation_p_value(
                split, bins, of, min_pictures=MIN_PICTURES_PER_CLASS, seed=seed
            )
        medians = _medians(rows, np.isin(of, split.inside))
        found.append(
            Shortcut(family, split.inside, split.balanced_accuracy, (low, high), medians, p_value)
        )
    significant = set(_holm([one.p_value for one in found], len(found), _MAX_P_VALUE))
    return [replace(one, is_warning=i in significant) for i, one in enumerate(found)]


def _independent(
    classes: Classes, groups: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the indices of one picture per group and class, of large classes a sample."""
    _, first = np.unique(np.column_stack([groups, classes]), axis=0, return_index=True)
    present = np.unique(classes)
    most = max(_MAX_PICTURES // max(len(present), 1), MIN_PICTURES_PER_CLASS)
    sampled = [random.permutation(first[classes[first] == k])[:most] for k in present]
    return np.sort(np.concatenate([*sampled, np.zeros(0, np.int64)]))


def _holm(p_values: Sequence[float], tests: int, level: float) -> list[int]:
    """Return the indices that Holm's correction for `tests` tests rejects, smallest p first."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, index in enumerate(order):
        if p_values[index] * (tests - rank) > level:
            return order[:rank]
    return order


def find_word_shortcuts(
    stats: Sequence[ImageStats], classes: Classes, groups: NDArray[np.int64]
) -> list[Shortcut]:
    """Find file formats and colour modes that are far more frequent in one class than elsewhere.

    Each word and class has Fisher's exact test, over one picture per group, and all of them
    Holm's correction. A format that 60 % of a class and no other picture has predicts the class in
    only 80 % of the pictures, and a network learns it all the same.

    Args:
        stats: (n) statistics.
        classes: (n,) class indices.
        groups: (n,) group numbers.

    Returns:
        Per class at most one, of family `file`, the most significant first.
    """
    _, first = np.unique(np.column_stack([groups, classes]), axis=0, return_index=True)
    of, present = classes[first], np.unique(classes).tolist()
    tests: list[Shortcut] = []
    for name, values in (
        ("format", np.array([stats[i].format for i in first])),
        ("mode", np.array([stats[i].mode for i in first])),
    ):
        for word in sorted(set(values.tolist())):
            has = values == word
            for label in present:
                inside = of == label
                table = [
                    [int((has & side).sum()), int((~has & side).sum())]
                    for side in (inside, ~inside)
                ]
                if min(map(sum, table)) == 0 or has.all():
                    continue
                shares = [hits / (hits + misses) for hits, misses in table]
                counts = np.array(table, dtype=np.float64).sum(axis=1)
                if shares[0] - shares[1] < _MIN_WORD_DIFFERENCE:
                    continue
                accuracies = np.array([shares[0], 1 - shares[1]])
                low, high = mean_interval(accuracies, counts)
                tests.append(
                    Shortcut(
                        "file",
                        (label,),
                        float(accuracies.mean()),
                        (low, high),
                        {f"{SHARE_OF}{name} {word}": (shares[0], shares[1])},
                        float(fisher_exact(table, alternative="greater").pvalue),
                        is_warning=True,
                    )
                )
    possible = len(present) * sum(
        len({getattr(one, name) for one in stats}) for name in ("format", "mode")
    )
    found: dict[tuple[int, ...], Shortcut] = {}
    for index in _holm([test.p_value for test in tests], possible, _MAX_WORD_P_VALUE):
        found.setdefault(tests[index].inside, tests[index])
    return list(found.values())


def _medians(
    rows: Sequence[dict[str, Any]], inside: NDArray[np.bool_]
) -> dict[str, tuple[float, float]]:
    """Return each number's median, or the commonest word's share, inside and outside."""
    medians = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, str):
            word = max(sorted(set(values)), key=values.count)
            is_it = np.array([value == word for value in values], dtype=np.float64)
            shares = (float(is_it[inside].mean()), float(is_it[~inside].mean()))
            medians[f"{SHARE_OF}{name} {word}"] = shares
        else:
            column = np.array(values, dtype=np.float64)
            medians[name] = (
                float(np.median(column[inside])),
                float(np.median(column[~inside])),
            )
    return medians
