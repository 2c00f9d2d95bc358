"""Label issues: pictures whose label the model disagrees with, beyond what overlap explains.

After confident learning (Northcutt, Jiang and Chuang 2021): every picture is predicted by a head
that did not see it, and disagreements that are too confident are reported. What is too confident
depends on the data: where classes overlap, a good model disagrees with many correct labels. So
the predictions are calibrated together with a share of wrong labels e (the mixture of Bootkrajang
and Kaban 2012): with the calibrated probability p of the label, a picture has it with probability

    (1 - e) p  +  e (1 - p) / (K - 1)

and the label is wrong with the posterior probability of the second term. If overlap explains all
disagreements, e is near 0 and nothing is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logsumexp

from training.audit.findings import Finding, plural
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Basis, Classes, Features, fit_head
from training.evaluation.intervals import Design
from training.evaluation.metrics import balanced_accuracy

# Posterior probability of a wrong label at which it is reported. Of 360 pictures of classes that
# overlap (Bayes 85 %) 0.6 % were reported with no label swapped, and of 120 1.6 %; the mean
# confidence of the class as the limit, as in the paper, reported 13 %. Of 360 faces with and
# without masks, of which 2, 5 and 10 % were swapped, 96, 99 and 100 % of those were (10, 10 and 4
# runs), and 0.1 to 0.3 % of the correct ones. At 0.25 these are 93, 97 and 99 %, and 0.1 %.
MIN_POSTERIOR: Final = 0.15

# Inverse L2 strengths of the rounds. The first is fitted on the wrong labels, too, and must not
# follow them; for the second, most of them are removed, and for the third nearly all.
_PENALTIES: Final = (0.01, 0.1, 0.1)

# Where the first round disagrees with no more labels, classes are separated, and the second is
# fitted without all of these: the first may have followed the wrong labels too far to be sure of
# them. Where classes overlap, that would make the heads too sure, and accuse honest pictures.
_MAX_DISTRUST: Final = 0.1

_MAX_WRONG_SHARE: Final = 0.3  # of labels; more cannot be distinguished from a bad model

# Standard deviations of the prior of the logarithm of the logits' scale, below and above 0. Heads
# are too sure of themselves by a factor of 2 at most where classes overlap, and can be far too
# modest where they do not. Without it, wrong labels of separated classes, whose logits are all
# alike, can be explained by a small scale as well.
_SPREAD_BELOW: Final = 0.35
_SPREAD_ABOVE: Final = 3.0
# Logarithm of the scale, and logit of the share, that the search starts from: the likeliest of
# these pairs, because there are local maxima.
_SCALES: Final = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_SHARES: Final = (-5.0, -3.0, -1.0)

# Gain in log likelihood that wrong labels must bring over overlap alone: 5 % of data sets without
# any reach it (likelihood-ratio test of a share at its bound: Self and Liang 1987).
_MIN_EVIDENCE: Final = 1.35

# Standard errors by which balanced accuracy must exceed chance: a model that knows nothing of the
# classes cannot judge labels.
_MIN_STANDARD_ERRORS: Final = 3.0


@dataclass(frozen=True)
class LabelIssue:
    """A picture whose label the model disagrees with.

    Attributes:
        index: Index of the picture in its feature set.
        given: Class index of its label.
        suggested: Class index that the model predicts.
        given_probability: Calibrated probability of its label, 0..1.
        suggested_probability: Calibrated probability of the suggested class, 0..1.
    """

    index: int
    given: int
    suggested: int
    given_probability: float
    suggested_probability: float


@dataclass(frozen=True)
class LabelIssues:
    """The label issues of a data set, and the disagreements that they stand out from.

    Attributes:
        found: The issues, the most certain first.
        disagreements: Number of pictures that are predicted as another class than their label.
        expected_disagreements: Number that overlap between the classes alone explains: the sum of
            the calibrated probabilities that a correct label is not the class predicted.
    """

    found: list[LabelIssue] = field(default_factory=list)
    disagreements: int = 0
    expected_disagreements: float = 0.0


def find_label_issues(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    folds: int,
    seed: int,
    confirmed: NDArray[np.bool_] | None = None,
) -> LabelIssues:
    """Find label issues by cross-validation, in rounds.

    Wrong labels pull the heads towards themselves, so each round is fitted without the
    issues of the one before.

    Args:
        features: (n, D).
        classes: (n,) class indices of the labels.
        groups: (n,) group numbers; copies of a picture are never in the fold that predicts it.
        folds: Cross-validation folds.
        seed: Seed of the folds.
        confirmed: (n,) labels that a person has confirmed, which are no issues; None for none.

    Returns:
        The issues; none where the predictions are near chance.

    Raises:
        TooFewPictures: As `training.evaluation.cross_validation.grouped_folds`.
    """
    num_classes = int(classes.max()) + 1
    features = Basis.of(features).compact(features)  # the same heads, in less time
    trusted = np.ones(len(classes), dtype=bool)
    issues = LabelIssues()
    for penalty in _PENALTIES:
        logits = np.zeros((len(classes), num_classes))
        for train, test in grouped_folds(classes, groups, folds=folds, seed=seed):
            clean = train[trusted[train]]
            if len(np.unique(classes[clean])) < num_classes:  # every label of a class is an issue
                clean = train
            head = fit_head(features[clean], classes[clean], penalty=penalty)
            logits[test] = head.logits(features[test])
        issues = judge_labels(logits, classes, groups)
        if confirmed is not None:
            issues = replace(
                issues, found=[one for one in issues.found if not confirmed[one.index]]
            )
        agrees = logits.argmax(axis=1) == classes
        if penalty == _PENALTIES[0] and (~agrees).mean() <= _MAX_DISTRUST:
            trusted = agrees if confirmed is None else agrees | confirmed
        else:
            trusted = np.ones(len(classes), dtype=bool)
            trusted[[issue.index for issue in issues.found]] = False
    return issues


def judge_labels(
    logits: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
) -> LabelIssues:
    """Select the pictures whose label is wrong with a high posterior probability.

    Args:
        logits: (n, K), out of fold.
        classes: (n,) class indices of the labels.
        groups: (n,) group numbers.
    """
    if not _beats_chance(logits, classes, groups):
        return LabelIssues()
    scale, wrong_share = calibrate_with_wrong_labels(logits, classes)
    every = np.arange(len(classes))
    probabilities = np.exp(_log_softmax(scale * logits))
    predicted = probabilities.argmax(axis=1)
    given, confidence = probabilities[every, classes], probabilities[every, predicted]
    by_mistake = wrong_share * (1 - given) / (logits.shape[1] - 1)
    posterior = by_mistake / (by_mistake + (1 - wrong_share) * given + 1e-300)
    disagrees = predicted != classes
    chosen = np.flatnonzero(disagrees & (posterior >= MIN_POSTERIOR))
    found = [
        LabelIssue(
            int(i), int(classes[i]), int(predicted[i]), float(given[i]), float(confidence[i])
        )
        for i in chosen[np.argsort(given[chosen] - confidence[chosen], kind="stable")]
    ]
    return LabelIssues(found, int(disagrees.sum()), float((1 - confidence).sum()))


def calibrate_with_wrong_labels(
    logits: NDArray[np.float64], classes: Classes
) -> tuple[float, float]:
    """Estimate the scale of the logits and the share of wrong labels, by maximum likelihood.

    Args:
        logits: (n, K), out of fold.
        classes: (n,) class indices of the labels.

    Returns:
        The factor that calibrates the logits of correct labels, and the share of wrong ones; 0 if
        overlap explains the labels as well.
    """
    every, num_classes = np.arange(len(classes)), logits.shape[1]

    def decode(position: NDArray[np.float64]) -> tuple[float, float]:
        # Bounded, so that perfectly separated classes do not lead to infinity.
        return float(np.exp(np.clip(position[0], -10, 10))), float(
            _MAX_WRONG_SHARE * expit(position[1])
        )

    def loss(position: NDArray[np.float64]) -> float:
        scale, wrong_share = decode(position)
        given = np.exp(_log_softmax(scale * logits)[every, classes])
        likelihood = (1 - wrong_share) * given + wrong_share * (1 - given) / (num_classes - 1)
        spread = _SPREAD_BELOW if position[0] < 0 else _SPREAD_ABOVE
        prior = 0.5 * (position[0] / spread) ** 2
        return float(prior - np.log(np.maximum(likelihood, 1e-300)).sum())

    start = min((np.array(pair) for pair in product(_SCALES, _SHARES)), key=loss)
    mixed = minimize(loss, start, method="Nelder-Mead")
    overlap = minimize_scalar(lambda scale: loss(np.array([scale, -np.inf])), bounds=(-4.0, 6.0))
    if overlap.fun - mixed.fun < _MIN_EVIDENCE:
        return decode(np.array([overlap.x, -np.inf]))
    return decode(mixed.x)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True))


def _beats_chance(logits: NDArray[np.float64], classes: Classes, groups: NDArray[np.int64]) -> bool:
    """Return True if balanced accuracy is clearly above that of guessing."""
    chance = 1 / logits.shape[1]
    correct = logits.argmax(axis=1) == classes
    sizes = [Design(correlation=1.0).size(groups[classes == k]) for k in np.unique(classes)]
    variance = chance * (1 - chance) * float(np.mean(1 / np.array(sizes))) / len(sizes)
    margin = _MIN_STANDARD_ERRORS * variance**0.5
    return bool(balanced_accuracy(correct, classes) >= chance + margin)


def label_issue_findings(
    names: Sequence[str], labels: Sequence[str], issues: LabelIssues
) -> list[Finding]:
    """Report label issues.

    Args:
        names: File names of the feature set.
        labels: Class names.
        issues: Label issues, as found.
    """
    if not issues.found:
        return []
    return [
        Finding(
            "warning",
            "suspect_labels",
            f"A model that was fitted without them disagrees with the labels of "
            f"{plural(len(issues.found), 'picture')} more strongly than overlap between the "
            f"classes explains (of {issues.disagreements} disagreements it explains about "
            f"{issues.expected_disagreements:.0f}). Look at each, and correct a label only if you "
            "can see that it is wrong.",
            tuple(names[issue.index] for issue in issues.found),
            details={
                "disagreements": issues.disagreements,
                "expected_disagreements": issues.expected_disagreements,
                "suspects": [
                    {
                        "name": names[issue.index],
                        "given": labels[issue.given],
                        "suggested": labels[issue.suggested],
                        "given_probability": issue.given_probability,
                        "suggested_probability": issue.suggested_probability,
                    }
                    for issue in issues.found
                ],
            },
        )
    ]
