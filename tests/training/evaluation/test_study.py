"""The study: exact shortcuts, figures that agree with one another, and errors explained."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.imaging.decode import decode_image
from tests.images import DrawData
from tests.training.tiny_backbone import tiny_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import Listing, scan
from training.data.source import open_source
from training.evaluation import study as module
from training.evaluation.calibration import calibrate, choose_threshold
from training.evaluation.cross_validation import summarise
from training.evaluation.head import Basis, Classes, Features, fit_head, softmax
from training.evaluation.study import Study, explain_errors, study
from training.features.extract import Extracted, Extractor
from training.features.feature_set import Pictures, read_pictures

CONFIG = dataclasses.replace(FitConfig(), penalties=(0.03, 0.3), folds=3, draws=500)


def pictures_of(
    features: Features, classes: Classes, groups: NDArray[np.int64], source: Path
) -> Pictures:
    """Pictures that are nothing but their features."""
    labels = tuple(f"c{k}" for k in range(int(classes.max()) + 1))
    names = [f"{labels[k]}/{place:03}.png" for place, k in enumerate(classes)]
    listing = Listing(
        open_source(source), labels, tuple(names), tuple(classes.tolist()), {}, (), {}
    )
    extracted = Extracted(np.arange(len(classes)), features, [], [], 0)
    return Pictures(listing, names, classes, groups, extracted, [])


def people(
    count: int, each: int, width: int, *, of_class: float, of_person: float, seed: int = 0
) -> tuple[Features, Classes, NDArray[np.int64]]:
    """Pictures of people, each of one class, with what is seen of the class and of the person."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(count), each)
    classes = (groups % 2).astype(np.int64)
    features = (
        np.eye(2, width)[classes] * of_class
        + random.normal(size=(count, width))[groups] * of_person
        + random.normal(size=(len(groups), width))
    )
    return features.astype(np.float32), classes, groups


# --- basis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
@pytest.mark.parametrize(("solver_tolerance", "difference"), [(1e-10, 1e-3), (1e-5, 2e-2)])
def test_a_head_in_the_basis_is_the_head_on_the_features(
    count: int,
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
    random = np.random.default_rng(count)
    classes = np.repeat(np.arange(count), 20).astype(np.int64)
    drawn = np.eye(count, 300)[classes] * 3 + random.normal(size=(len(classes), 300)) + 2
    features = drawn.astype(np.float32)
    basis = Basis.of(features)
    assert basis.vectors is not None
    assert basis.vectors.shape == (300, len(classes))
    compact = basis.compact(features)
    assert compact.dtype == np.float32
    some = np.arange(0, len(classes), 2)  # as in a fold: fitted on some of what spans the basis
    head = basis.expand(fit_head(compact[some], classes[some], count=count, penalty=penalty))
    wanted = fit_head(features[some], classes[some], count=count, penalty=penalty)
    assert head.weight.shape == wanted.weight.shape == (count, 300)
    assert head.weight.dtype == np.float32
    assert head.penalty == penalty
    strangers = random.normal(size=(50, 300)).astype(np.float32) * 2 + 2
    for judged in (features, strangers):
        np.testing.assert_allclose(head.logits(judged), wanted.logits(judged), atol=difference)
    assert float(np.abs(wanted.logits(strangers)).max()) > 0.3


@pytest.mark.parametrize("pictures", [40, 41])
def test_the_basis_is_the_identity_where_it_does_not_pay(pictures: int) -> None:
    features = np.random.default_rng(0).normal(size=(pictures, 40)).astype(np.float32)
    basis = Basis.of(features)
    assert basis.vectors is None
    assert basis.compact(features) is features
    head = fit_head(features, np.arange(pictures) % 2, count=2, penalty=0.1)
    assert basis.expand(head) is head


def test_copies_of_pictures_do_not_upset_the_basis() -> None:
    features = np.random.default_rng(0).normal(size=(10, 90)).astype(np.float32)
    features = np.concatenate([features, features, np.zeros((2, 90), np.float32)])
    basis = Basis.of(features)
    compact = basis.compact(features)
    np.testing.assert_allclose(compact @ compact.T, features @ features.T, atol=1e-3)


# --- the study -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pictures, Study]:
    data = people(30, 3, 200, of_class=4.0, of_person=0.5)
    pictures = pictures_of(*data, tmp_path_factory.mktemp("none"))
    return pictures, study(pictures, CONFIG)


def test_the_figures_are_those_of_its_own_probabilities(plain: tuple[Pictures, Study]) -> None:
    pictures, found = plain
    wanted = summarise(
        found.probabilities, pictures.classes, pictures.groups, pictures.labels, config=CONFIG
    )
    assert found.metrics == wanted
    assert 0.8 < found.metrics["accuracy"] <= 1.0
    assert found.decision == choose_threshold(
        found.probabilities, pictures.classes, target_error=CONFIG.target_error
    )
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)


def test_every_picture_is_judged_by_its_fold_s_head_at_the_temperature(
    plain: tuple[Pictures, Study],
) -> None:
    pictures, found = plain
    features = pictures.extracted.features
    logits = np.array(
        [
            found.fold_heads[fold].logits(features[place : place + 1])[0]
            for place, fold in enumerate(found.folds)
        ]
    )
    again = calibrate(logits, pictures.classes)
    assert found.calibration.temperature == pytest.approx(again.temperature, rel=1e-3)
    wanted = softmax(logits / found.calibration.temperature)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-3)
    for fold in range(CONFIG.folds):
        judged = set(pictures.groups[found.folds == fold])
        assert judged
        assert not judged & set(pictures.groups[found.folds != fold])


def test_the_head_is_the_one_of_all_pictures(plain: tuple[Pictures, Study]) -> None:
    pictures, found = plain
    features = pictures.extracted.features
    assert found.head.weight.shape == (2, 200)
    assert found.head.penalty in CONFIG.penalties
    wanted = fit_head(features, pictures.classes, count=2, penalty=found.head.penalty)
    np.testing.assert_allclose(found.head.logits(features), wanted.logits(features), atol=1e-2)


def test_the_study_is_json_with_the_figures_the_report_needs(
    plain: tuple[Pictures, Study],
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
    assert given["learning_curve"]["sentence"] == found.curve.sentence


def test_a_study_repeats(plain: tuple[Pictures, Study]) -> None:
    pictures, found = plain
    again = study(pictures, CONFIG)
    assert again.as_dict() == found.as_dict()
    assert again.head.weight.tobytes() == found.head.weight.tobytes()


def test_a_random_split_claims_more_where_people_leak(tmp_path: Path) -> None:
    data = people(24, 5, 60, of_class=0.0, of_person=3.0)
    found = study(pictures_of(*data, tmp_path), CONFIG)
    assert found.naive["balanced_accuracy"] > 0.95
    assert found.metrics["balanced_accuracy"] < 0.75
    assert (found.naive["groups"], found.metrics["groups"]) == (120, 24)
    assert found.decision.reached is False


def test_a_random_split_claims_the_same_where_nothing_leaks(tmp_path: Path) -> None:
    features, classes, _ = people(120, 1, 60, of_class=3.0, of_person=0.0)
    found = study(pictures_of(features, classes, np.arange(120), tmp_path), CONFIG)
    for name in ("balanced_accuracy", "recall", "confusion", "groups"):
        assert found.naive[name] == found.metrics[name]


# --- errors explained ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes(
    tmp_path_factory: pytest.TempPathFactory, draw_data: DrawData
) -> tuple[Pictures, Study, Extractor]:
    """Shapes that a random backbone of six features cannot tell: many errors."""
    folder = tmp_path_factory.mktemp("shapes")
    data = draw_data(folder / "data", {"bar": 20, "cone": 20, "disc": 20})
    extractor = Extractor(tiny_backbone())
    with Cache(folder / "cache") as cache:
        pictures = read_pictures(scan(open_source(data)), extractor, cache, CONFIG)
    return pictures, study(pictures, CONFIG), extractor


def test_every_misjudged_picture_is_explained_surest_first(
    shapes: tuple[Pictures, Study, Extractor],
) -> None:
    pictures, found, extractor = shapes
    cases = explain_errors(pictures, found, extractor)
    wrong = np.flatnonzero(found.probabilities.argmax(axis=1) != pictures.classes)
    assert len(wrong) > 10  # more than one batch
    assert sorted(case.place for case in cases) == wrong.tolist()
    sure = [float(found.probabilities[case.place].max()) for case in cases]
    assert sure == sorted(sure, reverse=True)
    assert len(cases) == found.metrics["pictures"] - np.trace(found.metrics["confusion"])


def test_the_activation_map_adds_up_to_the_fold_head_s_logit(
    shapes: tuple[Pictures, Study, Extractor],
) -> None:
    pictures, found, extractor = shapes
    for case in explain_errors(pictures, found, extractor):
        head = found.fold_heads[found.folds[case.place]]
        taken_for = int(found.probabilities[case.place].argmax())
        assert taken_for != pictures.classes[case.place]
        assert case.activation.shape == (8, 8)
        assert case.activation.dtype == np.float32
        logits = head.logits(pictures.extracted.features[case.place][None])[0]
        assert float(case.activation.mean() + head.bias[taken_for]) == pytest.approx(
            logits[taken_for], abs=1e-3
        )
        pixels = decode_image(pictures.data(case.place), size=32)
        feature_map = extractor.feature_map(torch.stack([pixels]))[0].numpy()
        # Rows 0-2, 2-5 and 5-7 of 8 are the bands; a row counts in each that it is in.
        counts = np.array(
            [[8 / 3] * 3 + [0] * 5, [0] * 2 + [2] * 4 + [0] * 2, [0] * 5 + [8 / 3] * 3]
        )
        weight = head.weight[taken_for].reshape(len(feature_map), 3) @ counts  # (D, h)
        by_hand = (weight[:, :, None] * feature_map).sum(axis=0)
        np.testing.assert_allclose(case.activation, by_hand, atol=1e-4)


def test_the_neighbours_are_the_most_similar_that_the_head_had_seen(
    shapes: tuple[Pictures, Study, Extractor],
) -> None:
    pictures, found, extractor = shapes
    features = pictures.extracted.features.astype(np.float64)
    for case in explain_errors(pictures, found, extractor):
        own = features[case.place]
        similar = sorted(
            (
                (
                    float(other @ own / np.linalg.norm(other) / np.linalg.norm(own)),
                    place,
                )
                for place, other in enumerate(features)
                if found.folds[place] != found.folds[case.place]
            ),
            reverse=True,
        )
        assert len(case.neighbours) == 4
        assert [likeness for _, likeness in case.neighbours] == pytest.approx(
            [likeness for likeness, _ in similar[:4]], abs=1e-5
        )
        for place, likeness in case.neighbours:
            assert found.folds[place] != found.folds[case.place]
            assert {p: s for s, p in similar}[place] == pytest.approx(likeness, abs=1e-5)


def test_no_more_are_explained_than_a_person_reads(
    shapes: tuple[Pictures, Study, Extractor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, found, extractor = shapes
    every = explain_errors(pictures, found, extractor)
    monkeypatch.setattr(module, "_EXPLAINED", 8)
    some = explain_errors(pictures, found, extractor)
    assert [case.place for case in some] == [case.place for case in every[:8]]


def test_where_nothing_is_misjudged_nothing_is_explained(tmp_path: Path) -> None:
    data = people(30, 1, 6, of_class=20.0, of_person=0.0)
    pictures = pictures_of(*data, tmp_path)
    assert explain_errors(pictures, study(pictures, CONFIG), Extractor(tiny_backbone())) == []
