"""The head: scikit-learn's optimum in the graph's own terms."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.evaluation.head import (
    Classes,
    Features,
    Head,
    choose_penalty,
    fit_head,
    fit_heads,
    log_loss,
    softmax,
)


def blobs(
    num_classes: int, each: int = 40, width: int = 5, spread: float = 3.0
) -> tuple[Features, Classes]:
    random = np.random.default_rng(num_classes)
    centres = random.normal(size=(num_classes, width)) * 2
    classes = np.repeat(np.arange(num_classes), each).astype(np.int64)
    features = (centres[classes] + random.normal(size=(len(classes), width)) * spread) * 7 + 4
    return features.astype(np.float32), classes


def weights_of(classes: Classes) -> np.ndarray:
    counts = np.bincount(classes)
    return np.asarray(len(classes) / (len(counts) * counts))


def scale_of(features: Features) -> float:
    """What makes the total variance of the features 1000."""
    return float(np.sqrt(features.astype(np.float64).var(axis=0).sum() / 1000))


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_softmax_of_logits_equals_predict_proba(num_classes: int, penalty: float) -> None:
    features, classes = blobs(num_classes)
    head = fit_head(features, classes, penalty=penalty)
    assert head.weight.shape == (num_classes, 5)
    assert head.bias.shape == (num_classes,)
    assert head.weight.dtype == head.bias.dtype == np.float32
    assert head.penalty == penalty
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=5000, tol=1e-8)
    scale = scale_of(features)
    model.fit(features.astype(np.float64) / scale, classes)
    wanted = model.predict_proba(features.astype(np.float64) / scale)
    np.testing.assert_allclose(softmax(head.logits(features)), wanted, atol=2e-4)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_each_of_several_heads_is_the_optimum_of_its_own_penalty(num_classes: int) -> None:
    features, classes = blobs(num_classes)
    penalties = (0.01, 0.3, 3.0)
    for head, penalty in zip(
        fit_heads(features, classes, penalties=penalties), penalties, strict=True
    ):
        alone = fit_head(features, classes, penalty=penalty)
        assert head.penalty == penalty
        np.testing.assert_allclose(
            softmax(head.logits(features)), softmax(alone.logits(features)), atol=2e-4
        )


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_fit_head_ends_at_a_zero_gradient(num_classes: int) -> None:
    features, classes = blobs(num_classes)
    classes = np.concatenate([classes, np.zeros(30, dtype=np.int64)])
    features = np.concatenate([features, features[:30] + 1])
    head = fit_head(features, classes, penalty=0.3)
    scale = scale_of(features)
    error = softmax(head.logits(features)) - np.eye(num_classes)[classes]
    error *= weights_of(classes)[classes][:, None]
    weight = head.weight * scale
    # For two classes the optimum of one row w is that of the softmax rows -w/2 and w/2.
    shrink = 2.0 if num_classes == 2 else 1.0
    gradient = 0.3 * error.T @ (features / scale) + weight * shrink
    assert float(np.abs(gradient).max()) < 0.02 * len(classes) * 0.3
    at_zero = (
        0.3
        * (
            (1 / num_classes - np.eye(num_classes)[classes]) * weights_of(classes)[classes][:, None]
        ).T
        @ (features / scale)
    )
    assert float(np.abs(gradient).max()) < 0.01 * float(np.abs(at_zero).max())


def test_logits_of_two_classes_are_opposite() -> None:
    features, classes = blobs(2)
    logits = fit_head(features, classes, penalty=1.0).logits(features)
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=1e-4)


def test_fit_head_gives_classes_equal_weight() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(220, 3)).astype(np.float32)
    classes = np.array([0] * 200 + [1] * 20, dtype=np.int64)
    head = fit_head(features, classes, penalty=0.01)
    assert float(softmax(head.logits(features)).mean(axis=0)[1]) == pytest.approx(0.5, abs=0.03)


def test_fit_head_is_invariant_to_the_scale_of_features() -> None:
    features, classes = blobs(3)
    one = fit_head(features, classes, penalty=0.1)
    other = fit_head(features * 1000, classes, penalty=0.1)
    np.testing.assert_allclose(
        softmax(one.logits(features)), softmax(other.logits(features * 1000)), atol=1e-3
    )


def test_fit_head_of_constant_features_is_finite() -> None:
    head = fit_head(np.ones((4, 2), dtype=np.float32), np.array([0, 1, 0, 1]), penalty=1.0)
    assert np.isfinite(head.weight).all()
    np.testing.assert_allclose(softmax(head.logits(np.ones((1, 2), np.float32))), 0.5, atol=1e-3)


def test_fit_head_of_a_very_large_set_is_fitted_in_single_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The optimum differs by as much as the gradient's rounding: far less than a penalty does."""
    features, classes = blobs(3, each=400)
    wanted = fit_head(features, classes, penalty=0.1)
    monkeypatch.setattr("training.evaluation.head._MAX_DOUBLES", features.size - 1)
    found = fit_head(features, classes, penalty=0.1)
    assert not np.array_equal(found.weight, wanted.weight)
    np.testing.assert_allclose(found.weight, wanted.weight, atol=1e-3 * np.abs(wanted.weight).max())
    np.testing.assert_allclose(
        softmax(found.logits(features)), softmax(wanted.logits(features)), atol=1e-3
    )


def test_fit_head_is_deterministic() -> None:
    features, classes = blobs(3)
    one, other = (fit_head(features, classes, penalty=1.0) for _ in range(2))
    assert one.weight.tobytes() == other.weight.tobytes()
    assert one.bias.tobytes() == other.bias.tobytes()


def test_softmax_of_huge_logits_is_finite() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, 0.0]])), [[1, 0], [0, 1]])


def test_log_loss_gives_classes_equal_weight_and_is_finite() -> None:
    logits = np.log(np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]))
    classes = np.array([0, 0, 0, 1])
    assert log_loss(logits, classes) == pytest.approx((-np.log(0.5) - np.log(0.8)) / 2)
    assert log_loss(np.array([[0.0, 1e6]]), np.array([0])) == pytest.approx(-np.log(1e-12))


def test_choose_penalty_returns_the_lowest_held_out_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A head whose logits are sharper the greater the penalty; 0.3 is as sharp as it is right.
    def fake(features: Features, classes: Classes, *, penalties: Sequence[float]) -> list[Head]:
        weight = np.array([[-1.0], [1.0]], dtype=np.float32)
        return [
            Head(weight * np.float32(penalty), np.zeros(2, dtype=np.float32), penalty)
            for penalty in penalties
        ]

    monkeypatch.setattr("training.evaluation.head.fit_heads", fake)
    sharp = np.log(0.75 / 0.25) / 2
    features = np.array([[-1.0], [-1], [-1], [1], [1], [1], [1], [-1]], dtype=np.float32)
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int64)
    places = np.arange(8)
    folds = [(places[places % 2 != odd], places[places % 2 == odd]) for odd in (0, 1)]
    chosen = choose_penalty(features, classes, folds, penalties=(0.01, sharp, 5.0, 50.0))
    assert chosen == sharp
