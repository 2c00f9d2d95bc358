"""The linear head: multinomial logistic regression on fixed features, fitted to its optimum."""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

Features = NDArray[np.float32]
Classes = NDArray[np.int64]

_VARIANCE = 1000.0  # about unit variance a feature for the usual widths of 500 to 2000
_ITERATIONS = 5000  # L-BFGS needs 50-500 here; the bound only stops a hopeless fit


@dataclass(frozen=True)
class Head:
    """Feature vector to one logit a class.

    Attributes:
        weight: float32 (K, D), for features as the extractor gives them.
        bias: float32 (K,).
        penalty: The inverse L2 strength C that it was fitted with.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float

    def logits(self, features: Features) -> NDArray[np.float64]:
        """(n, D) -> (n, K)."""
        return features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias


@dataclass(frozen=True)
class Basis:
    """Fewer coordinates for the same pictures: exact, not an approximation.

    An L2-penalised head lies in the span of the pictures that it is fitted on. With fewer
    pictures than features all fits therefore may be done in that span: several times
    faster, and with the same result.
    """

    vectors: NDArray[np.float64] | None  # (D, r) orthonormal, or None where it does not pay

    @classmethod
    def of(cls, features: Features) -> "Basis":
        """The span of (n, D) features."""
        if len(features) >= features.shape[1]:
            return cls(None)
        vectors, _ = np.linalg.qr(features.astype(np.float64).T)
        return cls(vectors)

    def compact(self, features: Features) -> Features:
        """(..., D) features -> (..., r) coordinates."""
        if self.vectors is None:
            return features
        return (features.astype(np.float64) @ self.vectors).astype(np.float32)

    def expand(self, head: Head) -> Head:
        """A head on coordinates -> the same head on features."""
        if self.vectors is None:
            return head
        weight = head.weight.astype(np.float64) @ self.vectors.T
        return Head(weight.astype(np.float32), head.bias, head.penalty)


def fit_head(features: Features, classes: Classes, *, count: int, penalty: float) -> Head:
    """Fit a head.

    One scale for all features, by which their total variance becomes `_VARIANCE`, keeps the
    differences in spread between them, which carry information here: standardising each cost
    0.4-1.2 points on pictures of another source.
    Classes weigh the same however many pictures each has, for the shares of a training folder
    say nothing of what the service will be sent.

    Args:
        features: (n, D).
        classes: (n,) class indices, each of 0..count-1 at least once.
        count: Classes K.
        penalty: Inverse L2 strength C.
    """
    scale = float(np.sqrt(features.var(axis=0).sum() / _VARIANCE)) or 1.0
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=_ITERATIONS, tol=1e-5)
    # The matrices are small: a second BLAS thread mostly waits, and ruins everything on a busy
    # machine. One also keeps results from depending on the number of cores.
    with _libraries().limit(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound met is still a good head
        model.fit(features.astype(np.float64) / scale, classes)
    weight, bias = model.coef_, model.intercept_
    if count == 2:  # scikit-learn keeps one row; the softmax of +-z/2 is its sigmoid of z
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Head((weight / scale).astype(np.float32), bias.astype(np.float32), penalty)


def fit_on_views(
    features: Features,
    views: Features | None,
    classes: Classes,
    *,
    count: int,
    penalty: float,
) -> Head:
    """Fit a head on pictures and on changed copies of them.

    Args:
        features: (n, D) of the plain pictures.
        views: (n, V, D) of their copies; None for none.
        classes: (n,) class indices, each of 0..count-1 at least once.
        count: Classes K.
        penalty: Inverse L2 strength C against the plain pictures: a picture and its copies
            together weigh as much as it would alone.
    """
    if views is None:
        return fit_head(features, classes, count=count, penalty=penalty)
    copies = views.shape[1]
    every = np.concatenate([features, views.reshape(-1, features.shape[1])])
    labels = np.concatenate([classes, classes.repeat(copies)])
    head = fit_head(every, labels, count=count, penalty=penalty / (1 + copies))
    return replace(head, penalty=penalty)


@functools.cache
def _libraries() -> ThreadpoolController:
    """Found once, for the search takes as long as a fit."""
    return ThreadpoolController()


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, K) logits -> (n, K) probabilities."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def log_loss(logits: NDArray[np.float64], classes: Classes) -> float:
    """Mean negative log-probability of the true class, each class weighing the same."""
    chances = softmax(logits)[np.arange(len(classes)), classes]
    losses = -np.log(np.maximum(chances, 1e-12))
    return float(np.mean([losses[classes == k].mean() for k in np.unique(classes)]))


def choose_penalty(
    features: Features,
    classes: Classes,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    *,
    count: int,
    penalties: Sequence[float],
) -> float:
    """Pick the penalty with the least log loss on the held-out parts.

    Args:
        features: (n, D).
        classes: (n,).
        folds: (fit on, judge on) places.
        count: Classes K.
        penalties: Candidates.
    """
    losses = []
    for penalty in penalties:
        held_out = np.zeros((len(classes), count))
        for fit_on, judge_on in folds:
            head = fit_head(features[fit_on], classes[fit_on], count=count, penalty=penalty)
            held_out[judge_on] = head.logits(features[judge_on])
        losses.append(log_loss(held_out, classes))
    return penalties[int(np.argmin(losses))]
