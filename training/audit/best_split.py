"""The two-way split of the classes that statistics predict best, and its permutation test.

A naive Bayes classifier over quantile bins predicts all K classes out of fold. It sees "small or
large, but not between", fits in closed form, and so can be repeated on permuted data. Its
confusion matrix shows which classes the statistics cannot tell apart. Classes that share a camera
are confused with each other and with no other class. Such splits, and each class against the rest,
are then predicted by the same classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.stats import norm, rankdata

from training.evaluation.head import Classes

_FOLDS: Final = 5
_MAX_BINS: Final = 16  # per statistic
_KERNEL_SHARE: Final = 0.1  # of all pictures: deviation of the kernel that smooths a number
_PRIOR_PICTURES: Final = 4.0  # that frequencies are shrunk with towards those of all classes
_PERMUTATIONS: Final = 199  # p-values from 0.005, which Holm's correction for 5 makes 0.025


@dataclass(frozen=True)
class Bins:
    """Statistics of pictures, cut into bins.

    Attributes:
        numbers: int64 (n, D): bin of each of D statistics; no two statistics share a bin.
        kernel: (B, B): share of a picture that each bin of the same statistic receives.
    """

    numbers: NDArray[np.int64]
    kernel: NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """Classes on one side of a split, and how well their pictures are predicted on that side.

    Attributes:
        inside: Indices of the classes on the side with fewer classes.
        accuracies: Share of correct sides among the pictures inside and outside, out of fold.
        counts: Pictures inside and outside.
    """

    inside: tuple[int, ...]
    accuracies: tuple[float, float]
    counts: tuple[int, int]

    @property
    def balanced_accuracy(self) -> float:
        """Return the mean of both sides' accuracies; 0.5 is chance."""
        return sum(self.accuracies) / 2


def to_bins(columns: Sequence[Sequence[Any]]) -> Bins:
    """Return the bins of statistics of n pictures, given as columns.

    Numbers are cut at their quantiles and smoothed over neighbouring bins; a word is a bin of its
    own, and so is each of a few distinct numbers. The numbers' principal components are added:
    a blurred picture may have too little fine detail for its size, and neither is unusual by
    itself. The classes take no part in any of it.
    """
    binned: list[NDArray[np.int64]] = []
    kernels: list[NDArray[np.float64]] = []
    for column in [*columns, *_principal_components(columns)]:
        values, index = np.unique(np.asarray(column), return_inverse=True)
        kernel = np.eye(len(values))
        if len(values) > _MAX_BINS and values.dtype.kind in "fiu":
            edges = np.unique(np.quantile(values[index], np.arange(1, _MAX_BINS) / _MAX_BINS))
            index = np.searchsorted(edges, values[index], side="left")
            share = np.bincount(index, minlength=len(edges) + 1) / len(index)
            middle = np.cumsum(share) - share / 2
            kernel = np.exp(-(((middle[:, None] - middle) / _KERNEL_SHARE) ** 2) / 2) * share
            kernel /= kernel.sum(axis=1, keepdims=True)
        binned.append(index + sum(len(one) for one in kernels))
        kernels.append(kernel)
    return Bins(np.column_stack(binned).astype(np.int64), block_diag(*kernels))


def _principal_components(columns: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    """Return the principal components, (components, n), of at least two numeric statistics."""
    numbers = [column for column in columns if not isinstance(column[0], str)]
    if len(numbers) < 2:
        return np.zeros((0, len(columns[0])))
    ranks = np.column_stack([rankdata(column) for column in numbers])
    scores = norm.ppf((ranks - 0.5) / len(ranks))
    scores -= scores.mean(axis=0)
    scores /= np.maximum(scores.std(axis=0), 1e-9)
    left, sizes, _ = np.linalg.svd(scores, full_matrices=False)
    return np.asarray(left.T[sizes > 1e-6 * max(sizes[0], 1.0)])


def find_best_split(bins: Bins, classes: Classes, *, min_pictures: int, seed: int) -> Split | None:
    """Return the split of the classes that the statistics predict best out of fold.

    Args:
        bins: Of n independent pictures.
        classes: (n,) class indices.
        min_pictures: Pictures that a side must have.
        seed: Seed of the folds.

    Returns:
        The split, or None if every split has a side with too few pictures.
    """
    return _best_split(bins, classes, _stratified_folds(classes, seed), min_pictures)


def permutation_p_value(
    split: Split, bins: Bins, classes: Classes, *, min_pictures: int, seed: int
) -> float:
    """Return how often permuted statistics have a best split as good as this one.

    The permutation test of a classifier by Ojala and Garriga (2010). Each permutation chooses its
    best split anew, which corrects for the number of splits. The rows of statistics are permuted
    rather than the classes, so that the folds stay stratified.
    """
    random = np.random.default_rng(seed)
    folds = _stratified_folds(classes, seed)
    as_good = 0
    for _ in range(_PERMUTATIONS):
        permuted = replace(bins, numbers=random.permutation(bins.numbers))
        best = _best_split(permuted, classes, folds, min_pictures)
        as_good += best is not None and best.balanced_accuracy >= split.balanced_accuracy
    return (1 + as_good) / (1 + _PERMUTATIONS)


def _stratified_folds(classes: Classes, seed: int) -> NDArray[np.int64]:
    """Return the fold of each picture, each class spread evenly over them."""
    random = np.random.default_rng(seed)
    folds = np.zeros(len(classes), dtype=np.int64)
    for k in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == k))
        folds[members] = (np.arange(len(members)) + random.integers(_FOLDS)) % _FOLDS
    return folds


def _best_split(
    bins: Bins, classes: Classes, folds: NDArray[np.int64], min_pictures: int
) -> Split | None:
    """Return the best of the splits of one class against the rest, and of similar classes."""
    num_classes = int(classes.max()) + 1
    counts = np.bincount(classes, minlength=num_classes)
    hits, pictures = _training_counts(bins, classes, folds)
    overall = np.bincount(bins.numbers.ravel(), minlength=len(bins.kernel)) / len(classes)
    overall = np.maximum(overall @ bins.kernel, 1e-9)

    def log_shares(sides: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log P(bin | side), (folds, bins, sides), of sides given as 0 and 1 per class."""
        smoothed = sides @ hits + _PRIOR_PICTURES * overall
        shares = smoothed / ((pictures @ sides.T)[:, :, None] + _PRIOR_PICTURES)
        return np.log(shares).transpose(0, 2, 1)

    splits = np.eye(num_classes, dtype=bool)
    if num_classes > 2:
        predicted = _sum_over_statistics(log_shares(np.eye(num_classes)), bins, folds).argmax(1)
        confusion = np.zeros((num_classes, num_classes))
        np.add.at(confusion, (classes, predicted), 1)
        splits = np.concatenate([splits, _splits_of_similar(confusion)])
    size = splits @ counts
    splits = splits[np.minimum(size, len(classes) - size) >= min_pictures]
    if not len(splits):
        return None
    sides = splits.astype(np.float64)
    ratio = _sum_over_statistics(log_shares(sides) - log_shares(1 - sides), bins, folds)
    is_inside = splits[:, classes].T
    correct = (ratio > 0) == is_inside
    size = is_inside.sum(axis=0)
    within = (correct & is_inside).sum(axis=0) / size
    beyond = (correct & ~is_inside).sum(axis=0) / (len(classes) - size)
    best = int((within + beyond).argmax())
    pairs = [
        (float(within[best]), int(size[best])),
        (float(beyond[best]), len(classes) - int(size[best])),
    ]
    inside = splits[best]
    if 2 * inside.sum() > num_classes or (2 * inside.sum() == num_classes and not inside[0]):
        inside, pairs = ~inside, pairs[::-1]
    accuracies, counted = zip(*pairs, strict=True)
    return Split(tuple(np.flatnonzero(inside).tolist()), accuracies, counted)


def _training_counts(
    bins: Bins, classes: Classes, folds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return counts of the other folds: smoothed per bin (folds, K, B), per class (folds, K)."""
    num_classes, num_bins = int(classes.max()) + 1, len(bins.kernel)
    cell = folds * num_classes + classes
    flat = (cell[:, None] * num_bins + bins.numbers).ravel()
    shape = (_FOLDS, num_classes, num_bins)
    hits = np.bincount(flat, minlength=_FOLDS * num_classes * num_bins).reshape(shape)
    pictures = np.bincount(cell, minlength=_FOLDS * num_classes).reshape(shape[:2])
    others = hits.sum(axis=0) - hits
    return others @ bins.kernel, (pictures.sum(axis=0) - pictures).astype(np.float64)


def _sum_over_statistics(
    table: NDArray[np.float64], bins: Bins, folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (n, sides) of a table (folds, bins, sides), summed over a picture's statistics."""
    total = table[folds, bins.numbers[:, 0]]
    for column in bins.numbers.T[1:]:
        total += table[folds, column]
    return total


def _splits_of_similar(confusion: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return K - 1 splits, (K - 1, K), that keep classes together that are taken for the same.

    The first singular vector of the centred confusion matrix orders the classes, and is cut at
    each position: all 2^(K - 1) splits would be too many.
    """
    profiles = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    first = np.linalg.svd(profiles - profiles.mean(axis=0))[0][:, 0]
    rank = np.argsort(np.argsort(first, kind="stable"))
    return np.asarray(rank < np.arange(1, len(confusion))[:, None])
