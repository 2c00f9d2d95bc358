"""Simulated worlds: Gaussian classes with known truth, in groups or not, and heads fitted fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WIDTH: Final = 16  # features
_SPREAD: Final = np.arange(1, _WIDTH + 1) ** -0.5  # of each feature within a class
_GROUP_SIZES: Final = (3, 10)  # pictures, the upper end excluded
_FRESH: Final = 10_000
_TOTAL_VARIANCE: Final = 1000.0  # as `training.evaluation.head`
_PENALTY: Final = 0.03
_NEWTON_STEPS: Final = 12
_NEWTON_TOLERANCE: Final = 1e-5  # of the largest coefficient

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
class FastHeads:
    """Logistic regressions with the objective of `training.evaluation.head.fit_head`."""

    weights: Floats  # (B, D + 1, K), the bias last

    def logits(self, features: Floats) -> Floats:
        """Return logits of every head: (n, D) -> (B, n, K)."""
        return np.asarray(features @ self.weights[:, :-1] + self.weights[:, -1:])

    def margins(self, world: World) -> tuple[Floats, float]:
        """Return the mean lead of the true class over the other, of each of two, and its spread.

        The lead in logits is normal, so that accuracy and ROC AUC of the first head are exact.
        """
        lead = self.weights[0, :, 1] - self.weights[0, :, 0]
        means = (world.means @ lead[:-1] + lead[-1]) * np.array([-1.0, 1.0])
        return np.asarray(means), float(np.sqrt(((lead[:-1] * _SPREAD) ** 2).sum()))


def fit(features: Floats, classes: Ints, num_classes: int) -> FastHeads:
    """Fit one head on all pictures."""
    return fit_many(features, classes, np.ones((1, len(classes)), dtype=bool), num_classes)


def fit_many(
    features: Floats, classes: Ints, used: NDArray[np.bool_], num_classes: int
) -> FastHeads:
    """Fit heads on parts of the pictures, all at once, by Newton's method.

    Args:
        features: (n, D).
        classes: (n,).
        used: (B, n): pictures that each head is fitted on.
        num_classes: K.
    """
    part = used / used.sum(axis=1, keepdims=True)
    variances = part @ features**2 - (part @ features) ** 2
    # Features are divided by a scale in the job; here the ridge is multiplied by its square.
    squared_scale = variances.sum(axis=1) / _TOTAL_VARIANCE
    ridge = np.column_stack(
        [np.repeat(squared_scale[:, None] / _PENALTY, _WIDTH, axis=1), np.full(len(used), 1e-6)]
    )
    rows = np.column_stack([features, np.ones(len(features))])
    one_hot = np.eye(num_classes)[classes]
    per_class = used @ one_hot  # (B, K)
    sizes = per_class.sum(axis=1, keepdims=True)
    weights = used * (sizes / num_classes / per_class)[:, classes]
    if num_classes == 2:
        one = _newton(rows, one_hot[:, 1:], weights, ridge)
        return FastHeads(np.concatenate([-one, one], axis=2) / 2)
    return FastHeads(_newton(rows, one_hot, weights, ridge))


def _newton(rows: Floats, targets: Floats, weights: Floats, ridge: Floats) -> Floats:
    """Minimise weighted log losses; the sigmoid's for K = 1.

    Args:
        rows: (n, P).
        targets: (n, K).
        weights: (B, n) of the pictures in each problem.
        ridge: (B, P).

    Returns:
        (B, P, K) coefficients.
    """
    num_problems, width, num_outputs = len(weights), rows.shape[1], targets.shape[1]
    products = (rows[:, :, None] * rows[:, None]).reshape(len(rows), width**2)
    beta = np.zeros((num_problems, width, num_outputs))
    diagonal = np.arange(width)
    for _ in range(_NEWTON_STEPS):
        z = rows @ beta  # (B, n, K)
        if num_outputs == 1:
            p = 1 / (1 + np.exp(-z))
        else:
            p = np.exp(z - z.max(axis=2, keepdims=True))
            p /= p.sum(axis=2, keepdims=True)
        gradient = rows.T @ (weights[..., None] * (p - targets)) + ridge[..., None] * beta
        curvature = np.empty((num_problems, num_outputs, width, num_outputs, width))
        for i in range(num_outputs):
            for j in range(i, num_outputs):
                w = weights * p[..., i] * ((i == j) - p[..., j])
                block = (w @ products).reshape(num_problems, width, width)
                curvature[:, i, :, j] = curvature[:, j, :, i] = block
            curvature[:, i, diagonal, i, diagonal] += ridge
        flat = curvature.reshape(num_problems, num_outputs * width, num_outputs * width)
        flat += 1e-9 * np.eye(num_outputs * width)
        down = gradient.transpose(0, 2, 1).reshape(num_problems, -1, 1)
        step = np.linalg.solve(flat, down).reshape(num_problems, num_outputs, width)
        beta = beta - step.transpose(0, 2, 1)
        if float(np.abs(step).max()) < _NEWTON_TOLERANCE * float(np.abs(beta).max()):
            break
    return beta


def out_of_fold(features: Floats, classes: Ints, fold_of: Ints, num_classes: int) -> Floats:
    """Return logits (n, K), each from a head that has not seen the picture's fold."""
    folds = np.unique(fold_of)
    heads = fit_many(features, classes, fold_of != folds[:, None], num_classes)
    return np.asarray(heads.logits(features)[fold_of, np.arange(len(classes))])


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
    used, tested = [], []
    for _ in range(repeats):
        fold_of = draw_folds(classes, groups, random)
        rank = np.empty(int(groups.max()) + 1)
        for fold in range(5):
            train = fold_of != fold
            for k in range(num_classes):
                names = random.permutation(np.unique(groups[train & (classes == k)]))
                rank[names] = np.arange(len(names)) / len(names)
            used += [train & (rank[groups] < share) for share in shares]
            tested += [~train] * len(shares)
    parts = np.array(used)
    answers = fit_many(features, classes, parts, num_classes).logits(features).argmax(axis=2)
    hits = ((answers == classes) & np.array(tested)).reshape(-1, len(shares), len(classes))
    sizes = parts.sum(axis=1).reshape(-1, len(shares)).mean(axis=0)
    return hits.sum(axis=0) / repeats, sizes
