"""Simulated worlds: Gaussian classes with known truth, in groups or not, and heads fitted fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.evaluation.head import softmax

_WIDTH: Final = 16  # features
_SPREAD: Final = np.arange(1, _WIDTH + 1) ** -0.5  # of each feature within a class
_GROUP_SIZES: Final = (3, 10)  # pictures, the upper end excluded
_FRESH: Final = 10_000
_TOTAL_VARIANCE: Final = 1000.0  # as `training.evaluation.head`
_PENALTY: Final = 0.03
_NEWTON_STEPS: Final = 12

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """A population of pictures.

    Attributes:
        sizes: Pictures per class in a data set.
        accuracy: Of the best possible head, classes weighing the same.
        shared: Share of the variance within a class that pictures of a group have in common; 0
            for pictures that are independent.
    """

    sizes: tuple[int, ...]
    accuracy: float
    shared: float = 0.0

    @property
    def name(self) -> str:
        """Name of its row: "2 x 60, 95 %, groups"."""
        num_classes = len(self.sizes)
        even = len(set(self.sizes)) == 1
        sizes = f"{num_classes} x {self.sizes[0]}" if even else " + ".join(map(str, self.sizes))
        kind = {0.0: "", 0.5: ", groups", 0.95: ", near-copies"}[self.shared]
        return f"{sizes}, {self.accuracy:.0%}{kind}".replace("%", " %")

    @cached_property
    def means(self) -> Floats:
        """(K, D) class means, as far apart as the accuracy asks."""
        random = np.random.default_rng(len(self.sizes))
        directions = random.normal(size=(len(self.sizes), _WIDTH)) * _SPREAD
        if len(self.sizes) == 2:
            directions[1] = -directions[0]
        classes = random.integers(0, len(self.sizes), _FRESH)
        noise = random.normal(size=(_FRESH, _WIDTH))
        low, high = 0.01, 30.0
        for _ in range(30):
            middle = (low * high) ** 0.5
            whitened = directions / _SPREAD * middle
            scores = (whitened[classes] + noise) @ whitened.T - (whitened**2).sum(axis=1) / 2
            if (scores.argmax(axis=1) == classes).mean() < self.accuracy:
                low = middle
            else:
                high = middle
        return np.asarray(directions * high)

    def draw(self, random: np.random.Generator, *, times: int = 1) -> tuple[Floats, Ints, Ints]:
        """Draw a data set: features (n, D), classes (n,), groups (n,); each group of one class."""
        classes = np.repeat(np.arange(len(self.sizes)), np.array(self.sizes) * times)
        groups = draw_groups(classes, random) if self.shared else np.arange(len(classes))
        own = random.normal(size=(len(classes), _WIDTH))
        common = random.normal(size=(int(groups.max()) + 1, _WIDTH))[groups]
        noise = self.shared**0.5 * common + (1 - self.shared) ** 0.5 * own
        return self.means[classes] + noise * _SPREAD, classes, groups

    @cached_property
    def fresh(self) -> tuple[Floats, Ints]:
        """Features and classes of fresh, independent pictures, with as many of each class."""
        random = np.random.default_rng(1)
        classes = np.arange(_FRESH) % len(self.sizes)
        noise = random.normal(size=(_FRESH, _WIDTH))
        return self.means[classes] + noise * _SPREAD, classes


def draw_groups(classes: Ints, random: np.random.Generator) -> Ints:
    """Divide the pictures of each class into groups of 3 to 9."""
    groups = np.zeros(len(classes), dtype=np.int64)
    last = 0
    for k in np.unique(classes):
        own = np.flatnonzero(classes == k)
        sizes = random.integers(*_GROUP_SIZES, size=len(own))
        groups[own] = last + np.repeat(np.arange(len(own)), sizes)[: len(own)]
        last = int(groups[own].max()) + 1
    return groups


def draw_folds(classes: Ints, groups: Ints, random: np.random.Generator, folds: int = 5) -> Ints:
    """Deal the groups of each class to folds: (n,) fold numbers."""
    fold_of = np.zeros(int(groups.max()) + 1, dtype=np.int64)
    start = 0
    for k in np.unique(classes):
        names = random.permutation(np.unique(groups[classes == k]))
        fold_of[names] = (start + np.arange(len(names))) % folds
        start += len(names)
    return fold_of[groups]


@dataclass(frozen=True)
class FastHead:
    """Logistic regression with the objective of `training.evaluation.head.fit_head`."""

    weight: Floats  # (D + 1, K), the bias last
    scale: float

    def logits(self, features: Floats) -> Floats:
        """Return logits: (n, D) -> (n, K)."""
        return np.asarray(features @ (self.weight[:-1] / self.scale) + self.weight[-1])


def fit(features: Floats, classes: Ints, num_classes: int) -> FastHead:
    """Fit a head by Newton's method."""
    scale = float(np.sqrt(features.var(axis=0).sum() / _TOTAL_VARIANCE))
    rows = np.column_stack([features / scale, np.ones(len(features))])
    sizes = np.bincount(classes, minlength=num_classes)
    weights = (len(classes) / num_classes / sizes)[classes]
    ridge = np.append(np.full(_WIDTH, 1 / _PENALTY), 1e-6)
    if num_classes == 2:
        one = _newton(rows, (classes == 1)[:, None], weights, ridge)[:, 0]
        return FastHead(np.column_stack([-one, one]) / 2, scale)
    return FastHead(_newton(rows, np.eye(num_classes)[classes], weights, ridge), scale)


def _newton(rows: Floats, targets: Floats, weights: Floats, ridge: Floats) -> Floats:
    """Minimise the weighted log loss: rows (n, P), targets (n, K) -> (P, K); sigmoid for K = 1."""
    width, num_outputs = rows.shape[1], targets.shape[1]
    beta = np.zeros((width, num_outputs))
    for _ in range(_NEWTON_STEPS):
        z = rows @ beta
        p = 1 / (1 + np.exp(-z)) if num_outputs == 1 else softmax(z)
        gradient = rows.T @ (weights[:, None] * (p - targets)) + ridge[:, None] * beta
        curvature = np.empty((num_outputs, width, num_outputs, width))
        for i in range(num_outputs):
            for j in range(i, num_outputs):
                w = weights * p[:, i] * ((i == j) - p[:, j])
                curvature[i, :, j] = curvature[j, :, i] = (rows * w[:, None]).T @ rows
            curvature[i, :, i] += np.diag(ridge)
        flat = curvature.reshape(num_outputs * width, num_outputs * width)
        step = np.linalg.solve(flat + 1e-9 * np.eye(len(flat)), gradient.T.ravel())
        beta = beta - step.reshape(num_outputs, width).T
        if float(np.abs(step).max()) < 1e-5:
            break
    return beta


def out_of_fold(features: Floats, classes: Ints, fold_of: Ints, num_classes: int) -> Floats:
    """Return logits (n, K), each from a head that has not seen the picture's fold."""
    logits = np.zeros((len(classes), num_classes))
    for fold in np.unique(fold_of):
        test = fold_of == fold
        logits[test] = fit(features[~test], classes[~test], num_classes).logits(features[test])
    return logits


def growing_hits(
    world: World,
    features: Floats,
    classes: Ints,
    groups: Ints,
    random: np.random.Generator,
    shares: Sequence[float],
    repeats: int,
) -> tuple[Floats, Floats]:
    """Return hits (shares, n) of heads on growing parts, and the parts' mean sizes (shares,)."""
    num_classes = len(world.sizes)
    hits = np.zeros((len(shares), len(classes)))
    sizes = np.zeros(len(shares))
    for _ in range(repeats):
        fold_of = draw_folds(classes, groups, random)
        rank = np.empty(int(groups.max()) + 1)
        for fold in range(5):
            train = np.flatnonzero(fold_of != fold)
            test = np.flatnonzero(fold_of == fold)
            for k in range(num_classes):
                names = random.permutation(np.unique(groups[train][classes[train] == k]))
                rank[names] = np.arange(len(names)) / len(names)
            for index, share in enumerate(shares):
                part = train[rank[groups[train]] < share]
                head = fit(features[part], classes[part], num_classes)
                hits[index, test] += head.logits(features[test]).argmax(axis=1) == classes[test]
                sizes[index] += len(part)
    return hits / repeats, sizes / (repeats * 5)
