"""Linear head: multinomial logistic regression on fixed features, fitted to its optimum."""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

Features = NDArray[np.float32]
Classes = NDArray[np.int64]
Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Per fold: indices of the training part, and of the test part."""

_TOTAL_VARIANCE: Final = 1000.0  # about unit variance per feature for usual widths, 500 to 2000
_MAX_DOUBLES: Final = 2**28  # values fitted in fp64: 2 GB, or 87,000 pictures of 3,072 features
_FEATURES_PER_PASS: Final = 256
_MAX_ITERATIONS: Final = 5000  # L-BFGS needs 50-500 here; the bound only stops a hopeless fit


@dataclass(frozen=True)
class Head:
    """Linear map from a feature vector to one logit per class.

    Attributes:
        weight: float32 (K, D), for features as the extractor returns them.
        bias: float32 (K,).
        penalty: Inverse L2 strength C of the fit.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float

    def logits(self, features: Features) -> NDArray[np.float64]:
        """Return logits: (n, D) -> (n, K)."""
        return features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias


@dataclass(frozen=True)
class Basis:
    """Orthonormal basis of the pictures' span: fewer coordinates, exact.

    An L2-penalised head lies in the span of the pictures that it is fitted on. With fewer
    pictures than features, all fits can therefore be done in that span: several times faster,
    and with the same result.
    """

    vectors: NDArray[np.float64] | None  # (D, r), or None where it saves nothing

    @classmethod
    def of(cls, features: Features) -> "Basis":
        """Return the basis of the span of (n, D) features."""
        if len(features) >= features.shape[1]:
            return cls(None)
        vectors, _ = np.linalg.qr(features.astype(np.float64).T)
        return cls(vectors)

    @classmethod
    def own(cls, features: Features) -> Features:
        """Return features in the basis of their own span: (n, D) -> (n, r)."""
        return cls.of(features).compact(features)

    def compact(self, features: Features) -> Features:
        """Return coordinates: (..., D) features -> (..., r)."""
        if self.vectors is None:
            return features
        return (features.astype(np.float64) @ self.vectors).astype(np.float32)

    def expand(self, head: Head) -> Head:
        """Return a head on features that equals a head on coordinates."""
        if self.vectors is None:
            return head
        weight = head.weight.astype(np.float64) @ self.vectors.T
        return Head(weight.astype(np.float32), head.bias, head.penalty)


def fit_head(features: Features, classes: Classes, *, penalty: float) -> Head:
    """Fit a head: see `fit_heads`."""
    return fit_heads(features, classes, penalties=[penalty])[0]


def fit_heads(features: Features, classes: Classes, *, penalties: Sequence[float]) -> list[Head]:
    """Fit a head per penalty, each from the weights of the one before: in half the iterations.

    One scale for all features brings their total variance to `_TOTAL_VARIANCE` and keeps the
    differences in spread between them, which carry information here: standardising each feature
    cost 0.4-1.2 points on pictures of another source. Classes have equal weight whatever their
    number of pictures, because the shares of a training folder say nothing about the pictures
    that the service will receive.

    Args:
        features: (n, D).
        classes: (n,) class indices, each of 0..K-1 at least once.
        penalties: Inverse L2 strengths C.
    """
    scale = float(np.sqrt(_variances(features).sum() / _TOTAL_VARIANCE)) or 1.0
    # Of a million pictures this is larger than all the rest: scaled in place, and in fp32, which
    # changes weights by about 1e-4 of their size.
    scaled = features.astype(np.float64 if features.size <= _MAX_DOUBLES else np.float32)
    np.divide(scaled, scale, out=scaled)
    model = LogisticRegression(
        class_weight="balanced", max_iter=_MAX_ITERATIONS, tol=1e-5, warm_start=True
    )
    heads = []
    # The matrices are small: a second BLAS thread mostly waits, and stalls a busy machine. One
    # thread also keeps results independent of the number of cores.
    with _libraries().limit(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the bound the head is still good
        for penalty in penalties:
            model.set_params(C=penalty).fit(scaled, classes)
            weight, bias = model.coef_, model.intercept_
            if len(weight) == 1:  # of two classes scikit-learn keeps one: softmax(+-z/2)
                weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
            heads.append(
                Head((weight / scale).astype(np.float32), bias.astype(np.float32), penalty)
            )
    return heads


def _variances(features: Features) -> NDArray[np.float32]:
    """Return the variance of each feature, in temporary arrays of some features at a time."""
    passes = -(-features.shape[1] // _FEATURES_PER_PASS)
    return np.concatenate([part.var(axis=0) for part in np.array_split(features, passes, axis=1)])


def fit_with_copies(
    features: Features, copies: Features | None, classes: Classes, *, penalty: float
) -> Head:
    """Fit a head on pictures and their augmented copies.

    Args:
        features: (n, D) of the original pictures.
        copies: (n, V, D) of their augmented copies; None for none.
        classes: (n,) class indices, each of 0..K-1 at least once.
        penalty: Inverse L2 strength C relative to the original pictures: a picture and its copies
            together weigh as much as the picture alone would.
    """
    if copies is None:
        return fit_head(features, classes, penalty=penalty)
    copies_per_picture = copies.shape[1]
    rows = np.concatenate([features, copies.reshape(-1, features.shape[1])])
    row_classes = np.concatenate([classes, classes.repeat(copies_per_picture)])
    head = fit_head(rows, row_classes, penalty=penalty / (1 + copies_per_picture))
    return replace(head, penalty=penalty)


@functools.cache
def _libraries() -> ThreadpoolController:
    """Return the BLAS libraries in use; cached, because the search takes as long as a fit."""
    return ThreadpoolController()


def pick_evenly(indices: NDArray[np.int64], max_indices: int) -> NDArray[np.int64]:
    """Return at most `max_indices` of the indices, spread evenly."""
    size = min(len(indices), max_indices)
    return indices[np.linspace(0, len(indices) - 1, size).round().astype(np.int64)]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities: (n, K) logits -> (n, K)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def log_loss(logits: NDArray[np.float64], classes: Classes) -> float:
    """Return the mean negative log-probability of the true class, classes weighing the same."""
    probabilities = softmax(logits)[np.arange(len(classes)), classes]
    losses = -np.log(np.maximum(probabilities, 1e-12))
    return float(np.mean([losses[classes == k].mean() for k in np.unique(classes)]))


def choose_penalty(
    features: Features, classes: Classes, folds: Folds, *, penalties: Sequence[float]
) -> float:
    """Return the penalty with the lowest log loss on the test parts of the folds.

    Args:
        features: (n, D).
        classes: (n,).
        folds: Training and test indices.
        penalties: Candidates.
    """
    logits = np.zeros((len(penalties), len(classes), classes.max() + 1))
    for train, test in folds:
        heads = fit_heads(features[train], classes[train], penalties=penalties)
        for index, head in enumerate(heads):
            logits[index, test] = head.logits(features[test])
    losses = [log_loss(of_penalty, classes) for of_penalty in logits]
    return penalties[int(np.argmin(losses))]
