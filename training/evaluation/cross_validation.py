"""Nested grouped cross-validation: a picture is predicted by a head that never saw its group."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation.head import (
    Basis,
    Classes,
    Features,
    Folds,
    Head,
    choose_penalty,
    fit_with_copies,
    pick_evenly,
)

# Scikit-learn takes 0.2 ms per group to find the fold that it balances best: 20 minutes for the
# folds of a million pictures. So many are balanced by dealing as well.
_MAX_BALANCED_GROUPS: Final = 20_000


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions, and the heads that made them.

    Attributes:
        logits: float64 (n, K).
        folds: int64 (n,): index of the head that predicted a picture.
        heads: One per fold, each with the penalty chosen inside its training part.
    """

    logits: NDArray[np.float64]
    folds: NDArray[np.int64]
    heads: list[Head]


def grouped_folds(classes: Classes, groups: NDArray[np.int64], *, folds: int, seed: int) -> Folds:
    """Split into stratified folds that divide no group; fewer folds where groups are few.

    Raises:
        TooFewPictures: A class has only one group, so that no model of it can be tested.
    """
    fewest = min(len(np.unique(groups[classes == k])) for k in np.unique(classes))
    if fewest < 2:
        raise TooFewPictures(
            "All pictures of one class are copies of one another or share one group, so that a "
            "model of it cannot be tested. Add pictures that are independent of these."
        )
    if len(np.unique(groups)) > _MAX_BALANCED_GROUPS:
        splits = _dealt_folds(classes, groups, folds=min(folds, fewest), seed=seed)
    else:
        splitter = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
        splits = list(splitter.split(np.zeros(len(classes)), classes, groups))
    present = set(np.unique(classes).tolist())
    # Large groups can leave a training part without a class: no head can be fitted on it.
    usable = [split for split in splits if set(np.unique(classes[split[0]]).tolist()) == present]
    if len(usable) < len(splits):
        raise TooFewPictures(
            "The groups are so large that a class is missing from a training part: "
            "add groups, or split the large ones."
        )
    return usable


def _dealt_folds(classes: Classes, groups: NDArray[np.int64], *, folds: int, seed: int) -> Folds:
    """Deal the shuffled groups to the folds in turn, class by class, the largest first."""
    _, first, group, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = np.lexsort((shuffled, -sizes, classes[first]))
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    fold_of_group[order] = np.arange(len(sizes)) % folds
    fold = fold_of_group[group]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def cross_validate(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    config: FitConfig,
    copies: Features | None = None,
) -> OutOfFold:
    """Predict each picture by a head fitted on the other folds.

    The cross-validation is nested: each fold's penalty is chosen inside its training part. It is
    chosen on original pictures, with or without copies: with copies the held-out log loss, which
    falls as long as the folds are separated, led to ever weaker penalties.

    Args:
        features: (n, D).
        classes: (n,).
        groups: (n,) group numbers: near-duplicates and pictures of one person share one.
        config: Folds, penalties and seed.
        copies: (n, V, D) of augmented copies, which are fitted on and never predicted.

    Raises:
        TooFewPictures: As `grouped_folds`.
    """
    logits = np.zeros((len(classes), classes.max() + 1))
    fold_of = np.zeros(len(classes), dtype=np.int64)
    heads: list[Head] = []
    originals = Basis.own(features)
    for train, test in grouped_folds(classes, groups, folds=config.folds, seed=config.seed):
        penalty = best_penalty(originals[train], classes[train], groups[train], config=config)
        head = fit_with_copies(
            features[train],
            None if copies is None else copies[train],
            classes[train],
            penalty=penalty,
        )
        logits[test] = head.logits(features[test])
        fold_of[test] = len(heads)
        heads.append(head)
    return OutOfFold(logits, fold_of, heads)


def best_penalty(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    config: FitConfig,
) -> float:
    """Choose the penalty by inner grouped cross-validation; the middle one if groups are few."""
    if len(classes) > config.searched:
        kept = pick_evenly(np.argsort(classes, kind="stable"), config.searched)
        classes, groups = classes[kept], groups[kept]
        features = Basis.own(features[kept])  # the same heads, in less time
    try:
        folds = grouped_folds(classes, groups, folds=config.inner_folds, seed=config.seed)
    except TooFewPictures:
        return config.penalties[len(config.penalties) // 2]
    return choose_penalty(features, classes, folds, penalties=config.penalties)
