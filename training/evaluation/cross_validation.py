"""How good a head is on pictures that it was not fitted on, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation.head import Basis, Classes, Features, Head, choose_penalty, fit_on_views

_AUC_DRAWS = 1000  # its interval's ends to about 0.05 points
_AUC_NUMBERS = 2_000_000  # weights in memory at once: 16 MB

Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class OutOfFold:
    """Every picture judged by a head that saw neither it nor its group.

    Attributes:
        logits: float64 (n, K).
        folds: int64 (n,): which of the heads judged a picture.
        heads: One a fold, each with the penalty chosen inside its training part.
    """

    logits: NDArray[np.float64]
    folds: NDArray[np.int64]
    heads: list[Head]


def grouped_folds(classes: Classes, groups: NDArray[np.int64], *, folds: int, seed: int) -> Folds:
    """Split into stratified folds that no group straddles; fewer folds where groups are few.

    Raises:
        TooFewPictures: A class has but one group, so that it cannot be both learnt and judged.
    """
    fewest = min(len(np.unique(groups[classes == k])) for k in np.unique(classes))
    if fewest < 2:
        raise TooFewPictures(
            "All pictures of one class are copies of one another or share one group: it cannot "
            "be told how good a model of it is. Add pictures that are independent of these."
        )
    splitter = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    every = set(np.unique(classes).tolist())
    parts = list(splitter.split(np.zeros(len(classes)), classes, groups))
    # Large groups can leave a training part without a class: such a part teaches nothing.
    sound = [part for part in parts if set(np.unique(classes[part[0]]).tolist()) == every]
    if len(sound) < len(parts):
        raise TooFewPictures(
            "The groups are so large that a class is missing from a training part: "
            "add groups, or split the large ones."
        )
    return sound


def cross_validate(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    config: FitConfig,
    views: Features | None = None,
) -> OutOfFold:
    """Nested grouped cross-validation: the penalty is chosen inside each training part only.

    The penalty is chosen on plain pictures, with or without views: with them the held-out log
    loss, which falls as long as the folds are separated, asked for weaker and weaker ones.

    Args:
        features: (n, D).
        classes: (n,).
        groups: (n,) group numbers: near-duplicates and pictures of one person share one.
        count: Classes K.
        config: Folds, penalties and seed.
        views: (n, V, D) of changed copies, which are learnt from and never judged.

    Raises:
        TooFewPictures: As `grouped_folds`.
    """
    logits = np.zeros((len(classes), count))
    fold_of = np.zeros(len(classes), dtype=np.int64)
    heads: list[Head] = []
    for fit_on, judge_on in grouped_folds(classes, groups, folds=config.folds, seed=config.seed):
        penalty = best_penalty(
            features[fit_on], classes[fit_on], groups[fit_on], count=count, config=config
        )
        head = fit_on_views(
            features[fit_on],
            None if views is None else views[fit_on],
            classes[fit_on],
            count=count,
            penalty=penalty,
        )
        logits[judge_on] = head.logits(features[judge_on])
        fold_of[judge_on] = len(heads)
        heads.append(head)
    return OutOfFold(logits, fold_of, heads)


def best_penalty(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    config: FitConfig,
) -> float:
    """Choose the penalty by an inner grouped cross-validation; the middle one if groups are few."""
    if len(classes) > config.searched:
        order = np.argsort(classes, kind="stable")
        kept = order[np.linspace(0, len(classes) - 1, config.searched).round().astype(np.int64)]
        classes, groups = classes[kept], groups[kept]
        features = Basis.of(features[kept]).compact(features[kept])  # the same heads, in less time
    try:
        folds = grouped_folds(classes, groups, folds=config.inner_folds, seed=config.seed)
    except TooFewPictures:
        return config.penalties[len(config.penalties) // 2]
    return choose_penalty(features, classes, folds, count=count, penalties=config.penalties)


def summarise(
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    *,
    config: FitConfig,
) -> dict[str, Any]:
    """Figures of one set of judged pictures, with 95 % intervals.

    Shares (accuracy, recall, precision) have Jeffreys' interval (Brown, Cai and DasGupta 2001),
    which stays honest where nothing went wrong: 60 of 60 is 96-100 %, not 100-100 %. Pictures
    of one group are not independent, so a class counts as many as Kish's effective sample size
    says. Intervals of means over classes come from draws of the classes' shares. The interval
    of ROC-AUC is a bootstrap over groups.

    Args:
        probabilities: (n, K).
        classes: (n,) true classes; some of the K may have no picture.
        groups: (n,) group numbers.
        labels: Class names.
        config: Seed and number of draws.
    """
    answers = probabilities.argmax(axis=1)
    right = answers == classes
    random = np.random.default_rng(config.seed)
    present = [k for k in range(len(labels)) if (classes == k).any()]
    sizes = np.array([(classes == k).sum() for k in present])
    recall = {k: draw_share(right, groups, classes == k, random, config.draws) for k in present}
    draws = np.column_stack(list(recall.values()))  # (draws, classes present)
    shares = np.array([right[classes == k].mean() for k in present])
    precision = {
        k: draw_share(right, groups, answers == k, random, config.draws)
        for k in range(len(labels))
        if (answers == k).any()
    }
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (classes, answers), 1)
    return {
        "pictures": len(classes),
        "groups": len(np.unique(groups)),
        "accuracy": float(right.mean()),
        "mean_score": float(probabilities.max(axis=1).mean()),
        "accuracy_interval_95": interval(draws @ (sizes / sizes.sum())),
        "balanced_accuracy": float(shares.mean()),
        "balanced_accuracy_interval_95": interval(draws.mean(axis=1)),
        "recall": {labels[k]: float(right[classes == k].mean()) for k in present},
        "recall_interval_95": {labels[k]: interval(draw) for k, draw in recall.items()},
        "precision": {labels[k]: float(right[answers == k].mean()) for k in precision},
        "precision_interval_95": {labels[k]: interval(draw) for k, draw in precision.items()},
        "confusion": confusion.tolist(),
        **_roc_auc(probabilities, classes, groups, random),
    }


def _roc_auc(
    probabilities: NDArray[np.float64],
    classes: Classes,
    groups: NDArray[np.int64],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Area under the ROC curve, the mean over classes of each against the rest."""
    present = np.unique(classes)
    if len(present) < 2:
        return {"roc_auc": None, "roc_auc_interval_95": None}
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1

    def mean_area(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        each = np.array([roc_areas(probabilities[:, k], classes == k, weights) for k in present])
        known = ~np.isnan(each)  # a draw may lack a class, and the mean is over the others
        told = known.any(axis=0)  # a draw of one class only tells nothing
        return np.asarray(np.where(known, each, 0).sum(0)[told] / known.sum(0)[told])

    areas: list[float] = []
    at_once = min(_AUC_DRAWS, max(1, _AUC_NUMBERS // len(classes)))
    for _ in range(0, _AUC_DRAWS, at_once):
        times = random.multinomial(count, np.full(count, 1 / count), size=at_once)  # (., groups)
        areas += mean_area(times[:, group].astype(np.float64)).tolist()
    low, high = np.percentile(areas, [2.5, 97.5])
    return {
        "roc_auc": float(mean_area(np.ones((1, len(classes))))[0]),
        "roc_auc_interval_95": [float(low), float(high)],
    }


def roc_areas(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area under the ROC curve for many weightings of the same pictures at once.

    It is the chance that a positive scores higher than a negative, ties counting half (Hanley
    and McNeil 1982). scikit-learn's `roc_auc_score` gives the same, one weighting at a time.

    Args:
        scores: (n,).
        positive: (n,).
        weights: (draws, n), each how often a picture counts.

    Returns:
        float64 (draws,); NaN where a draw has no positive or no negative.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # of equal scores
    pro = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    con = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(con, axis=1) - con
    with np.errstate(invalid="ignore"):
        areas = (pro * (below + con / 2)).sum(axis=1) / (pro.sum(axis=1) * con.sum(axis=1))
    return np.asarray(areas)


def draw_share(
    right: NDArray[np.bool_],
    groups: NDArray[np.int64],
    among: NDArray[np.bool_],
    random: np.random.Generator,
    count: int,
) -> NDArray[np.float64]:
    """Draws of the share of right answers among some pictures, from its Jeffreys posterior."""
    _, sizes = np.unique(groups[among], return_counts=True)
    effective = sizes.sum() ** 2 / (sizes**2).sum()  # Kish 1965: whole groups stand or fall
    hits = effective * right[among].mean()
    return random.beta(hits + 0.5, effective - hits + 0.5, size=count)


def interval(draws: NDArray[np.float64]) -> list[float]:
    """The ends between which 95 % of draws lie."""
    return [float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))]
