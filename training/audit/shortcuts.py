"""Shortcuts: statistics that predict the class without the subject.

If all pictures of one class come from one camera, crawler or program, a network may learn that
instead of the subject: it is correct on the folder it was trained on and wrong elsewhere. So a
small classifier is fitted on statistics that do not depend on the subject, one family at a time.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact
from sklearn.ensemble import GradientBoostingClassifier

from training.audit.findings import Finding
from training.data.image_stats import ImageStats
from training.errors import TooFewPictures
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes
from training.evaluation.intervals import mean_interval
from training.features.feature_set import FeatureSet

# Balanced accuracy that the interval's lower end must reach for a warning. Innocent differences
# stay below: in photographs of faces with and without masks light alone gave 0.7, because masks
# are worn outdoors and in winter. A class darkened by a quarter gave 0.96, enlarged from half its
# resolution 0.94, of another file format 1.0.
_MIN_BALANCED_ACCURACY: Final = 0.80

# Pictures on either side: with fewer, even a perfect answer's interval is wider than the distance
# from the limit to 1.
_MIN_PICTURES: Final = 20

# Difference of the share of a format or mode, and p-value after Holm's correction, from which it
# is a warning.
_MIN_WORD_DIFFERENCE: Final = 0.3
_MAX_P_VALUE: Final = 0.01

_FOLDS: Final = 5
_DRAWS: Final = 4000  # behind an interval that is compared with two digits
_MAX_PICTURES_PER_CLASS: Final = 4000  # more sharpen nothing


@dataclass(frozen=True)
class Shortcut:
    """Result of predicting one class against all others from one family of statistics.

    Attributes:
        family: A key of `FAMILIES`.
        label: Index of the class predicted against the rest; with two classes always the first.
        balanced_accuracy: Out of fold, 0.5 is chance.
        interval_95: Interval of the balanced accuracy, (low, high).
        medians: Median of each statistic, in the class and in the rest.
        by_words: True if found by Fisher's exact test of a word, which is a warning by itself.
    """

    family: str
    label: int
    balanced_accuracy: float
    interval_95: tuple[float, float]
    medians: dict[str, tuple[float, float]]
    by_words: bool = False

    @property
    def is_warning(self) -> bool:
        """True if the statistics predict the class well enough to warn."""
        return self.by_words or self.interval_95[0] >= _MIN_BALANCED_ACCURACY

    def as_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return the shortcut as it stands in a finding's details."""
        return {
            "family": self.family,
            "class": labels[self.label],
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
"""Statistics of a picture by family; numbers, or words to be one-hot encoded."""


def find_shortcuts(
    stats: Sequence[ImageStats],
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    num_classes: int,
    seed: int = 0,
) -> list[Shortcut]:
    """Measure how well each family of statistics predicts each class against the others.

    Args:
        stats: (n) statistics.
        classes: (n,) class indices.
        groups: (n,) group numbers; copies on both sides would make any statistic predict the class.
        num_classes: Classes K.
        seed: Seed of folds, draws, and the sample of a very large class.

    Returns:
        One shortcut per family and class that has enough pictures, warnings or not.

    Raises:
        TooFewPictures: As `training.evaluation.cross_validation.grouped_folds`.
    """
    random = np.random.default_rng(seed)
    found = []
    for label in range(1 if num_classes == 2 else num_classes):  # two classes: one question
        in_class = (classes == label).astype(np.int64)
        if min(in_class.sum(), len(in_class) - in_class.sum()) < _MIN_PICTURES:
            continue
        chosen = np.sort(
            np.concatenate(
                [
                    random.permutation(np.flatnonzero(in_class == side))[:_MAX_PICTURES_PER_CLASS]
                    for side in (0, 1)
                ]
            )
        )
        side, group = in_class[chosen], groups[chosen]
        if min(len(np.unique(group[side == s])) for s in (0, 1)) < _FOLDS:
            continue
        folds = grouped_folds(side, group, folds=_FOLDS, seed=seed)
        for family, select in FAMILIES.items():
            rows = [select(stats[index]) for index in chosen]
            table = _to_numbers(rows)
            predicted = np.zeros(len(chosen), dtype=np.int64)
            for train, test in folds:
                predicted[test] = _predict(table[train], side[train], table[test], seed)
            accuracy, interval = _balanced_accuracy(predicted == side, side, group, random)
            found.append(Shortcut(family, label, accuracy, interval, _medians(rows, side)))
    return found


def find_word_shortcuts(
    stats: Sequence[ImageStats], classes: Classes, groups: NDArray[np.int64], *, num_classes: int
) -> list[Shortcut]:
    """Find file formats and colour modes that are far more frequent in one class than elsewhere.

    Each word and class has Fisher's exact test, over one picture per group, and all of them
    Holm's correction. A format that 60 % of a class and no other picture has predicts the class in
    only 80 % of the pictures, and a network learns it all the same.

    Args:
        stats: (n) statistics.
        classes: (n,) class indices.
        groups: (n,) group numbers.
        num_classes: Classes K.

    Returns:
        Per class at most one, of family `file`, the most significant first.
    """
    _, first = np.unique(np.column_stack([groups, classes]), axis=0, return_index=True)
    of = classes[first]
    tests: list[tuple[float, Shortcut]] = []
    for name, values in (
        ("format", np.array([stats[i].format for i in first])),
        ("mode", np.array([stats[i].mode for i in first])),
    ):
        for word in sorted(set(values.tolist())):
            has = values == word
            for label in range(num_classes):
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
                shortcut = Shortcut(
                    "file",
                    label,
                    float(accuracies.mean()),
                    (low, high),
                    {f"share of {name} {word}": (shares[0], shares[1])},
                    by_words=True,
                )
                tests.append((float(fisher_exact(table, alternative="greater").pvalue), shortcut))
    tests.sort(key=lambda test: test[0])
    possible = num_classes * sum(
        len({getattr(one, name) for one in stats}) for name in ("format", "mode")
    )
    found: dict[int, Shortcut] = {}
    for rank, (p_value, shortcut) in enumerate(tests):
        if p_value * (possible - rank) > _MAX_P_VALUE:
            break
        found.setdefault(shortcut.label, shortcut)
    return list(found.values())


def _to_numbers(rows: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Convert rows of statistics to numbers; one-hot encode those that are words."""
    columns: list[list[float]] = []
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, str):
            columns += [[float(value == word) for value in values] for word in sorted(set(values))]
        else:
            columns.append(values)
    return np.array(columns, dtype=np.float64).T


def _predict(
    train: NDArray[np.float64], side: Classes, test: NDArray[np.float64], seed: int
) -> Classes:
    """Fit a classifier with balanced weights, and return 0 or 1 for each row of `test`."""
    # Forty trees of depth 2: enough for "small or large, but not between", which a linear model
    # would miss, and too few to memorise single pictures.
    model = GradientBoostingClassifier(
        n_estimators=40, max_depth=2, learning_rate=0.2, min_samples_leaf=5, random_state=seed
    )
    shares = np.bincount(side, minlength=2) / len(side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant statistic divides by nothing
        model.fit(train, side, sample_weight=0.5 / shares[side])
    return np.asarray(model.predict(test), dtype=np.int64)


def _balanced_accuracy(
    correct: NDArray[np.bool_],
    side: Classes,
    groups: NDArray[np.int64],
    random: np.random.Generator,
) -> tuple[float, tuple[float, float]]:
    """Return balanced accuracy and its 95 % interval.

    Each side has Jeffreys' interval over its effective number of groups (Kish).
    """
    shares, draws = [], []
    for which in (0, 1):
        among = side == which
        _, sizes = np.unique(groups[among], return_counts=True)
        effective = sizes.sum() ** 2 / (sizes**2).sum()
        shares.append(float(correct[among].mean()))
        hits = effective * shares[-1]
        draws.append(random.beta(hits + 0.5, effective - hits + 0.5, size=_DRAWS))
    low, high = np.percentile(np.mean(draws, axis=0), (2.5, 97.5))
    return float(np.mean(shares)), (float(low), float(high))


def _medians(rows: Sequence[dict[str, Any]], side: Classes) -> dict[str, tuple[float, float]]:
    """Return each number's median, or the commonest word's share, in the class and in the rest."""
    medians = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, str):
            word = max(sorted(set(values)), key=values.count)
            is_it = np.array([value == word for value in values], dtype=np.float64)
            shares = (float(is_it[side == 1].mean()), float(is_it[side == 0].mean()))
            medians[f"share of {name} {word}"] = shares
        else:
            column = np.array(values, dtype=np.float64)
            medians[name] = (
                float(np.median(column[side == 1])),
                float(np.median(column[side == 0])),
            )
    return medians


_ASK_SOURCE: Final = (
    "Do the classes come from different cameras, sites or programs? Then a model may learn that "
    "instead of what they show: mix the sources, or save all pictures alike."
)
_ASK_LOOK: Final = (
    "Is that what the class looks like, or only how these pictures were taken? If the latter, "
    "add pictures of each class under the other's conditions."
)
_MESSAGES: Final[dict[str, tuple[str, str]]] = {
    "size": ("Width and height alone distinguish", _ASK_SOURCE),
    "file": ("File format, colour mode and compression alone distinguish", _ASK_SOURCE),
    "sharpness": ("Sharpness alone distinguishes", _ASK_SOURCE),
    "light": ("Brightness and contrast alone distinguish", _ASK_LOOK),
    "colour": ("The mean colour alone distinguishes", _ASK_LOOK),
}


def shortcut_findings(feature_set: FeatureSet, *, seed: int) -> list[Finding]:
    """Report the shortcuts that are warnings."""
    labels = feature_set.labels
    not_checked = _not_checked(feature_set)
    try:
        shortcuts = find_shortcuts(
            feature_set.stats,
            feature_set.classes,
            feature_set.groups,
            num_classes=len(labels),
            seed=seed,
        )
    except TooFewPictures:  # all of a class in one or two groups: nothing can be measured
        shortcuts = []
    if not any(shortcut.is_warning and shortcut.family == "file" for shortcut in shortcuts):
        shortcuts += find_word_shortcuts(
            feature_set.stats, feature_set.classes, feature_set.groups, num_classes=len(labels)
        )[:1]
    return not_checked + [
        Finding(
            "warning",
            f"shortcut_{shortcut.family}",
            _format_message(shortcut, labels),
            details=shortcut.as_dict(labels),
        )
        for shortcut in shortcuts
        if shortcut.is_warning
    ]


def _not_checked(feature_set: FeatureSet) -> list[Finding]:
    """Report the classes that have too few pictures or groups to look for shortcuts."""
    few = [
        label
        for k, label in enumerate(feature_set.labels)
        if (feature_set.classes == k).sum() < _MIN_PICTURES
        or len(np.unique(feature_set.groups[feature_set.classes == k])) < _FOLDS
    ]
    if not few or not len(feature_set.names):
        return []
    return [
        Finding(
            "info",
            "shortcuts_not_checked",
            f"Shortcuts were not looked for in {', '.join(map(repr, few))}: too few. It takes "
            f"{_MIN_PICTURES} pictures in {_FOLDS} groups.",
            details={"classes": few},
        )
    ]


def _format_message(shortcut: Shortcut, labels: Sequence[str]) -> str:
    statistics, question = _MESSAGES[shortcut.family]
    rest = repr(labels[1 - shortcut.label]) if len(labels) == 2 else "the rest"
    low, high = shortcut.interval_95
    if shortcut.by_words:
        ((what, (inside, outside)),) = shortcut.medians.items()
        word = what.removeprefix("share of ")
        return (
            f"{inside:.0%} of {labels[shortcut.label]!r} have {word}, and {outside:.0%} of {rest} "
            f"(Fisher's exact test). {question}"
        )
    return (
        f"{statistics} {labels[shortcut.label]!r} from {rest} in "
        f"{shortcut.balanced_accuracy:.0%} of pictures ({low:.0%} to {high:.0%}; guessing gives "
        f"50 %). {question}"
    )
