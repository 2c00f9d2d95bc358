"""Label issues: pictures whose label is probably wrong, found by confident learning.

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels":
every picture is predicted by a head that did not see it, and a class's threshold is the mean
probability of that class over the pictures labelled so. So a class that is hard to recognise
needs less probability for an issue, and an easy class needs more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.audit.findings import Finding, plural
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Basis, Classes, Features, fit_head, softmax

# Share of a class's threshold at which a label is an issue. At 1, the paper's, 12 % of labels
# swapped on purpose are missed, because many correct pictures lie below the mean as well; at 0.7,
# 2 % are, and 1 correct label in 700 is an issue (360 faces with and without masks, 5 % swapped,
# 6 draws).
_THRESHOLD_SHARE: Final = 0.7

# Inverse L2 strengths of the two rounds. The first is fitted on the wrong labels, too, and must
# not follow them; for the second, most of them are removed.
_PENALTIES: Final = (0.01, 0.1)


@dataclass(frozen=True)
class LabelIssue:
    """A picture whose label is probably wrong.

    Attributes:
        index: Of the picture in its feature set.
        given: Class index of its label.
        suggested: Class index that it probably has.
        given_probability: Probability of its label, 0..1.
        suggested_probability: Probability of the suggested class, 0..1.
    """

    index: int
    given: int
    suggested: int
    given_probability: float
    suggested_probability: float


def find_label_issues(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    num_classes: int,
    folds: int,
    seed: int,
) -> list[LabelIssue]:
    """Find label issues by cross-validation, in two rounds.

    Wrong labels pull the heads towards themselves, so the second round is fitted without the
    issues of the first: with one round 8 correct labels of 2,052 were issues and 3 swapped ones
    of 108 were missed, with two rounds 3 and 2.

    Args:
        features: (n, D).
        classes: (n,) class indices of the labels.
        groups: (n,) group numbers; copies of a picture are never in the fold that predicts it.
        num_classes: Classes K.
        folds: Cross-validation folds.
        seed: Of the folds.

    Returns:
        The issues, the most certain first.

    Raises:
        TooFewPictures: As `training.evaluation.cross_validation.grouped_folds`.
    """
    features = Basis.of(features).compact(features)  # the same heads, in less time
    trusted = np.ones(len(classes), dtype=bool)
    issues: list[LabelIssue] = []
    for penalty in _PENALTIES:
        probabilities = np.zeros((len(classes), num_classes))
        for train, test in grouped_folds(classes, groups, folds=folds, seed=seed):
            clean = train[trusted[train]]
            if len(np.unique(classes[clean])) < num_classes:  # every label of a class is an issue
                clean = train
            head = fit_head(
                features[clean], classes[clean], num_classes=num_classes, penalty=penalty
            )
            probabilities[test] = softmax(head.logits(features[test]))
        issues = confident_issues(probabilities, classes)
        trusted = np.ones(len(classes), dtype=bool)
        trusted[[issue.index for issue in issues]] = False
    return issues


def confident_issues(probabilities: NDArray[np.float64], classes: Classes) -> list[LabelIssue]:
    """Select the pictures that are confidently predicted as another class than their label.

    Args:
        probabilities: (n, K), out of fold.
        classes: (n,) class indices of the labels.

    Returns:
        The issues, the most certain first.
    """
    if not len(classes):
        return []
    every = np.arange(len(classes))
    predicted = probabilities.argmax(axis=1)
    confidence, given = probabilities[every, predicted], probabilities[every, classes]
    needed = _THRESHOLD_SHARE * class_thresholds(probabilities, classes)[predicted]
    found = np.flatnonzero((predicted != classes) & (confidence >= needed))
    return [
        LabelIssue(
            int(i), int(classes[i]), int(predicted[i]), float(given[i]), float(confidence[i])
        )
        for i in found[np.argsort(given[found] - confidence[found], kind="stable")]
    ]


def class_thresholds(probabilities: NDArray[np.float64], classes: Classes) -> NDArray[np.float64]:
    """Return each class's mean self-confidence; 1 for a class without pictures.

    Args:
        probabilities: (n, K), out of fold.
        classes: (n,) class indices of the labels.

    Returns:
        float64 (K,).
    """
    return np.array(
        [
            probabilities[classes == k, k].mean() if (classes == k).any() else 1.0
            for k in range(probabilities.shape[1])
        ]
    )


def label_issue_findings(
    names: Sequence[str], labels: Sequence[str], issues: Sequence[LabelIssue]
) -> list[Finding]:
    """Report label issues.

    Args:
        names: File names of the feature set.
        labels: Class names.
        issues: The most certain first.
    """
    if not issues:
        return []
    return [
        Finding(
            "warning",
            "suspect_labels",
            f"{plural(len(issues))} may be in the wrong folder, according to a model that was "
            "fitted without them: look at each, and move those that are.",
            tuple(names[issue.index] for issue in issues),
            details={
                "suspects": [
                    {
                        "name": names[issue.index],
                        "given": labels[issue.given],
                        "suggested": labels[issue.suggested],
                        "given_probability": issue.given_probability,
                        "suggested_probability": issue.suggested_probability,
                    }
                    for issue in issues
                ]
            },
        )
    ]
