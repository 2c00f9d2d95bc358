"""Pictures whose label is probably wrong, found by confident learning.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels":
every picture is judged by a head that did not see it, and a class's threshold is the mean
probability that the pictures labelled so get for it. So a class that is hard to tell asks for
less before its label is doubted, and a class that is easy asks for more.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Basis, Classes, Features, fit_head, softmax

# Share of a class's threshold at which a label is doubted. At 1, the paper's, 12 % of labels
# swapped on purpose are missed, for many honest pictures lie below the mean, too; at 0.7 2 % are,
# and 1 honest label in 700 is doubted (360 faces with and without masks, 5 % swapped, 6 draws).
_SLACK: Final = 0.7

# Inverse L2 strength of the two rounds. The first learns from the wrong labels, too, and must
# not follow them; the second has most of them out of its way.
_PENALTIES: Final = (0.01, 0.1)


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is doubted.

    Attributes:
        place: Its place among the pictures judged.
        given: Class index that it is labelled with.
        suggested: Class index that it probably has.
        given_probability: Of the label that it has, 0..1.
        suggested_probability: Of the class suggested, 0..1.
    """

    place: int
    given: int
    suggested: int
    given_probability: float
    suggested_probability: float

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "place": self.place,
            "given": self.given,
            "suggested": self.suggested,
            "given_probability": self.given_probability,
            "suggested_probability": self.suggested_probability,
        }


def thresholds(probabilities: NDArray[np.float64], classes: Classes) -> NDArray[np.float64]:
    """Each class's mean self-confidence; 1 for a class that no picture has.

    Args:
        probabilities: (n, K), out of fold.
        classes: (n,) given classes.

    Returns:
        float64 (K,).
    """
    count = probabilities.shape[1]
    return np.array(
        [
            probabilities[classes == k, k].mean() if (classes == k).any() else 1.0
            for k in range(count)
        ]
    )


def suspects(probabilities: NDArray[np.float64], classes: Classes) -> list[Suspect]:
    """Find the labels to doubt.

    Args:
        probabilities: (n, K): each picture judged by a head that did not see it.
        classes: (n,) given classes.

    Returns:
        The doubted pictures, the most doubtful first.
    """
    if not len(classes):
        return []
    every = np.arange(len(classes))
    likely = probabilities.argmax(axis=1)
    chance, given = probabilities[every, likely], probabilities[every, classes]
    needed = _SLACK * thresholds(probabilities, classes)[likely]
    doubted = np.flatnonzero((likely != classes) & (chance >= needed))
    return [
        Suspect(int(i), int(classes[i]), int(likely[i]), float(given[i]), float(chance[i]))
        for i in doubted[np.argsort(given[doubted] - chance[doubted], kind="stable")]
    ]


def find_suspects(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    folds: int,
    seed: int,
) -> list[Suspect]:
    """Judge every picture twice, the second time by heads fitted without the first suspects.

    Wrong labels pull the heads towards themselves: without the second round 8 honest labels of
    2,052 were doubted and 3 swapped ones of 108 missed, with it 3 and 2.

    Args:
        features: (n, D).
        classes: (n,) given classes.
        groups: (n,) group numbers; no copy of a picture judges it.
        count: Classes K.
        folds: Cross-validation folds.
        seed: Of the folds.

    Raises:
        TooFewPictures: As `training.evaluation.cross_validation.grouped_folds`.
    """
    features = Basis.of(features).compact(features)  # the same heads, in less time
    trusted = np.ones(len(classes), dtype=bool)
    found: list[Suspect] = []
    for penalty in _PENALTIES:
        probabilities = np.zeros((len(classes), count))
        for fit_on, judge_on in grouped_folds(classes, groups, folds=folds, seed=seed):
            sound = fit_on[trusted[fit_on]]
            if len(np.unique(classes[sound])) < count:  # all of a class is doubted: then none is
                sound = fit_on
            head = fit_head(features[sound], classes[sound], count=count, penalty=penalty)
            probabilities[judge_on] = softmax(head.logits(features[judge_on]))
        found = suspects(probabilities, classes)
        trusted = np.ones(len(classes), dtype=bool)
        trusted[[suspect.place for suspect in found]] = False
    return found
