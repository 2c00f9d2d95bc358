"""Study: the exact basis, and metrics that agree with one another."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.config import FitConfig
from training.data.dataset import Listing
from training.data.source import open_source
from training.evaluation.calibration import calibrate, choose_threshold
from training.evaluation.head import Basis, Classes, Features, fit_head, softmax
from training.evaluation.metrics import classification_metrics
from training.evaluation.study import Study, study
from training.features.feature_set import FeatureSet

CONFIG = dataclasses.replace(FitConfig(), penalties=(0.03, 0.3), folds=3, draws=500)


def feature_set_of(
    features: Features, classes: Classes, groups: NDArray[np.int64], source: Path
) -> FeatureSet:
    """Return a feature set without picture files."""
    labels = tuple(f"c{k}" for k in range(int(classes.max()) + 1))
    names = [f"{labels[k]}/{index:03}.png" for index, k in enumerate(classes)]
    listing = Listing(
        open_source(source), labels, tuple(names), tuple(classes.tolist()), {}, (), {}
    )
    return FeatureSet(listing, names, classes, groups, features, [], [], [])


def people(
    num_people: int, each: int, width: int, *, of_class: float, of_person: float, seed: int = 0
) -> tuple[Features, Classes, NDArray[np.int64]]:
    """Draw features of people, each of one class, from a class part and a person part."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_people), each)
    classes = (groups % 2).astype(np.int64)
    features = (
        np.eye(2, width)[classes] * of_class
        + random.normal(size=(num_people, width))[groups] * of_person
        + random.normal(size=(len(groups), width))
    )
    return features.astype(np.float32), classes, groups


# --- basis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
@pytest.mark.parametrize(("solver_tolerance", "difference"), [(1e-10, 1e-3), (1e-5, 2e-2)])
def test_head_fitted_in_the_basis_equals_the_head_on_features(
    num_classes: int,
    penalty: float,
    solver_tolerance: float,
    difference: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The optimum is the same to the rounding of float32; the job stops somewhat before it.
    monkeypatch.setattr(
        "training.evaluation.head.LogisticRegression",
        lambda **options: LogisticRegression(**(options | {"tol": solver_tolerance})),
    )
    random = np.random.default_rng(num_classes)
    classes = np.repeat(np.arange(num_classes), 20).astype(np.int64)
    drawn = np.eye(num_classes, 300)[classes] * 3 + random.normal(size=(len(classes), 300)) + 2
    features = drawn.astype(np.float32)
    basis = Basis.of(features)
    assert basis.vectors is not None
    assert basis.vectors.shape == (300, len(classes))
    compact = basis.compact(features)
    assert compact.dtype == np.float32
    some = np.arange(0, len(classes), 2)  # as in a fold: fitted on some of what spans the basis
    head = basis.expand(fit_head(compact[some], classes[some], penalty=penalty))
    wanted = fit_head(features[some], classes[some], penalty=penalty)
    assert head.weight.shape == wanted.weight.shape == (num_classes, 300)
    assert head.weight.dtype == np.float32
    assert head.penalty == penalty
    strangers = random.normal(size=(50, 300)).astype(np.float32) * 2 + 2
    for tested in (features, strangers):
        np.testing.assert_allclose(head.logits(tested), wanted.logits(tested), atol=difference)
    assert float(np.abs(wanted.logits(strangers)).max()) > 0.3


@pytest.mark.parametrize("pictures", [40, 41])
def test_basis_is_the_identity_with_as_many_pictures_as_features(pictures: int) -> None:
    features = np.random.default_rng(0).normal(size=(pictures, 40)).astype(np.float32)
    basis = Basis.of(features)
    assert basis.vectors is None
    assert basis.compact(features) is features
    head = fit_head(features, np.arange(pictures) % 2, penalty=0.1)
    assert basis.expand(head) is head


def test_basis_of_duplicate_pictures_is_exact() -> None:
    features = np.random.default_rng(0).normal(size=(10, 90)).astype(np.float32)
    features = np.concatenate([features, features, np.zeros((2, 90), np.float32)])
    basis = Basis.of(features)
    compact = basis.compact(features)
    np.testing.assert_allclose(compact @ compact.T, features @ features.T, atol=1e-3)


# --- the study -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureSet, Study]:
    data = people(30, 3, 200, of_class=4.0, of_person=0.5)
    pictures = feature_set_of(*data, tmp_path_factory.mktemp("none"))
    return pictures, study(pictures, CONFIG)


def test_study_metrics_are_those_of_its_probabilities(plain: tuple[FeatureSet, Study]) -> None:
    pictures, found = plain
    wanted = classification_metrics(
        found.probabilities,
        pictures.classes,
        pictures.groups,
        pictures.labels,
        cross_validated=True,
    )
    assert found.metrics == wanted
    assert 0.8 < found.metrics["accuracy"] <= 1.0
    assert found.decision == choose_threshold(
        found.probabilities, pictures.classes, pictures.groups, target_error=CONFIG.target_error
    )
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)


def test_study_probabilities_are_those_of_the_fold_head_at_the_temperature(
    plain: tuple[FeatureSet, Study],
) -> None:
    pictures, found = plain
    features = pictures.features
    logits = np.array(
        [
            found.fold_heads[fold].logits(features[index : index + 1])[0]
            for index, fold in enumerate(found.folds)
        ]
    )
    again = calibrate(logits, pictures.classes, pictures.groups, found.folds)
    assert found.calibration.temperature == pytest.approx(again.temperature, rel=1e-3)
    wanted = softmax(logits / found.calibration.temperature)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-3)
    for fold in range(CONFIG.folds):
        tested = set(pictures.groups[found.folds == fold])
        assert tested
        assert not tested & set(pictures.groups[found.folds != fold])


def test_study_head_is_fitted_on_all_pictures(plain: tuple[FeatureSet, Study]) -> None:
    pictures, found = plain
    features = pictures.features
    assert found.head.weight.shape == (2, 200)
    assert found.head.penalty in CONFIG.penalties
    wanted = fit_head(features, pictures.classes, penalty=found.head.penalty)
    np.testing.assert_allclose(found.head.logits(features), wanted.logits(features), atol=1e-2)


def test_study_as_dict_is_json_with_every_block(
    plain: tuple[FeatureSet, Study],
) -> None:
    _, found = plain
    given = found.as_dict()
    assert json.loads(json.dumps(given, allow_nan=False)).keys() == {
        "cross_validation",
        "naive_split",
        "calibration",
        "decision",
        "learning_curve",
    }
    assert given["cross_validation"]["penalties"] == [h.penalty for h in found.fold_heads]
    assert given["naive_split"] == found.naive
    assert given["decision"]["threshold"] == found.decision.threshold
    assert given["calibration"]["temperature"] == found.calibration.temperature
    assert given["learning_curve"]["sentence"] == found.learning_curve.sentence


def test_study_is_deterministic(plain: tuple[FeatureSet, Study]) -> None:
    pictures, found = plain
    again = study(pictures, CONFIG)
    assert again.as_dict() == found.as_dict()
    assert again.head.weight.tobytes() == found.head.weight.tobytes()


def test_naive_split_is_more_optimistic_where_people_leak(tmp_path: Path) -> None:
    data = people(24, 5, 60, of_class=0.0, of_person=3.0)
    found = study(feature_set_of(*data, tmp_path), CONFIG)
    assert found.naive["balanced_accuracy"] > 0.95
    assert found.metrics["balanced_accuracy"] < 0.75
    assert (found.naive["groups"], found.metrics["groups"]) == (120, 24)
    assert found.decision.reached is False


def test_naive_split_equals_the_grouped_one_where_nothing_leaks(tmp_path: Path) -> None:
    features, classes, _ = people(120, 1, 60, of_class=3.0, of_person=0.0)
    found = study(feature_set_of(features, classes, np.arange(120), tmp_path), CONFIG)
    for name in ("balanced_accuracy", "recall", "confusion", "groups"):
        assert found.naive[name] == found.metrics[name]
