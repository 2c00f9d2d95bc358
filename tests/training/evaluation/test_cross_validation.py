"""Nested grouped cross-validation: no head predicts a group that it was fitted on."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation import cross_validation
from training.evaluation.cross_validation import best_penalty, cross_validate, grouped_folds
from training.evaluation.head import Classes, Features, fit_with_copies

CONFIG = dataclasses.replace(FitConfig(), penalties=(0.03, 0.3), draws=4000)


def drawn(
    num_classes: int = 2, each: int = 30, group_size: int = 3, seed: int = 0, spread: float = 1.0
) -> tuple[Features, Classes, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(num_classes), each).astype(np.int64)
    groups = (np.arange(len(classes)) // group_size).astype(np.int64)
    centres = np.eye(num_classes, 6)[classes] * 4
    features = centres + random.normal(size=centres.shape) * spread
    order = random.permutation(len(classes))
    return features[order].astype(np.float32), classes[order], groups[order]


@pytest.mark.parametrize("group_size", [1, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_grouped_folds_divide_no_group_and_test_each_picture_once(
    group_size: int, seed: int
) -> None:
    _, classes, groups = drawn(3, 28, group_size, seed)
    judged = np.zeros(len(classes), dtype=int)
    for train, test in grouped_folds(classes, groups, folds=4, seed=seed):
        assert not set(groups[train]) & set(groups[test])
        assert set(train) | set(test) == set(range(len(classes)))
        assert set(classes[train]) == {0, 1, 2}
        judged[test] += 1
    assert (judged == 1).all()


def test_many_groups_are_dealt_to_folds_of_equal_classes_and_sizes() -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 30_000, 50_000)
    classes = (groups % 10 < 3).astype(np.int64)
    splits = grouped_folds(classes, groups, folds=5, seed=0)
    judged = np.zeros(len(classes), dtype=int)
    for train, test in splits:
        assert not len(np.intersect1d(groups[train], groups[test]))
        assert len(train) + len(test) == len(classes)
        assert len(test) == pytest.approx(len(classes) / 5, rel=1e-3)
        assert classes[test].mean() == pytest.approx(classes.mean(), abs=1e-3)
        judged[test] += 1
    assert (judged == 1).all()
    again, other = (grouped_folds(classes, groups, folds=5, seed=seed) for seed in (0, 1))
    assert all(map(np.array_equal, splits[0], again[0]))
    assert not np.array_equal(splits[0][1], other[0][1])


def test_grouped_folds_are_fewer_where_groups_are_few() -> None:
    _, classes, groups = drawn(2, 12, 4)
    assert len(grouped_folds(classes, groups, folds=5, seed=0)) == 3


def test_grouped_folds_depend_on_the_seed_alone() -> None:
    _, classes, groups = drawn()
    one, same, other = (
        [test.tolist() for _, test in grouped_folds(classes, groups, folds=5, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_grouped_folds_refuse_a_class_of_one_group() -> None:
    classes = np.repeat(np.array([0, 1]), 10)
    groups = np.concatenate([np.arange(10), np.full(10, 99)])
    with pytest.raises(TooFewPictures, match="independent"):
        grouped_folds(classes, groups, folds=5, seed=0)


def test_grouped_folds_refuse_a_training_part_without_a_class() -> None:
    # Class 1 stands in two groups, and so does nearly everything of class 0.
    classes = np.array([0] * 20 + [1, 1], dtype=np.int64)
    groups = np.array([0] * 10 + [1] * 10 + [0, 1], dtype=np.int64)
    folds = grouped_folds(classes, groups, folds=2, seed=0)
    assert len(folds) == 2

    class Lopsided:
        def __init__(self, *_: object, **__: object) -> None: ...

        def split(self, *_: object) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
            return [(np.arange(20), np.arange(20, 22)), (np.arange(20, 22), np.arange(20))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "StratifiedGroupKFold", Lopsided)
        with pytest.raises(TooFewPictures, match="add groups, or split the large ones"):
            grouped_folds(classes, groups, folds=2, seed=0)


def test_cross_validate_is_accurate_on_easy_data_and_not_on_noise() -> None:
    for spread, low, high in ((0.3, 0.99, 1.0), (50.0, 0.3, 0.7)):
        features, classes, groups = drawn(2, 60, 2, spread=spread)
        judged = cross_validate(features, classes, groups, config=CONFIG)
        share = float((judged.logits.argmax(1) == classes).mean())
        assert low <= share <= high


def test_cross_validate_does_not_reward_leaked_groups() -> None:
    # Each group has a fingerprint of its own and says nothing of its class.
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 6)
    classes = (groups % 2).astype(np.int64)
    features = (random.normal(size=(30, 40))[groups] * 3).astype(np.float32)
    judged = cross_validate(features, classes, groups, config=CONFIG)
    assert float((judged.logits.argmax(1) == classes).mean()) < 0.75
    alone = cross_validate(features, classes, np.arange(180), config=CONFIG)
    assert float((alone.logits.argmax(1) == classes).mean()) > 0.95


def test_best_penalty_searches_a_sample_of_each_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, classes, groups = drawn()
    seen: list[Classes] = []

    def choose(features: Features, classes: Classes, folds: Sequence[Any], **options: Any) -> float:
        assert len(features) == len(classes)
        seen.append(classes)
        return 0.3

    monkeypatch.setattr(cross_validation, "choose_penalty", choose)
    few = dataclasses.replace(CONFIG, searched=40)
    for config, wanted in ((few, 40), (CONFIG, len(classes))):
        assert best_penalty(features, classes, groups, config=config) == 0.3
        assert len(seen[-1]) == wanted
    shares = [np.bincount(found) / len(found) for found in seen]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.05)


def test_penalty_is_chosen_on_the_training_part_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, classes, groups = drawn()
    seen: list[set[bytes]] = []
    fitted: list[set[bytes]] = []
    real = fit_with_copies

    def choose(features: Features, classes: Classes, folds: Sequence[Any], **options: Any) -> float:
        seen.append({row.tobytes() for row in features})
        return 0.3

    def fit(features: Features, copies: None, classes: Classes, **options: Any) -> Any:
        assert options["penalty"] == 0.3
        fitted.append({row.tobytes() for row in features})
        return real(features, copies, classes, **options)

    monkeypatch.setattr(cross_validation, "choose_penalty", choose)
    monkeypatch.setattr(cross_validation, "fit_with_copies", fit)
    judged = cross_validate(features, classes, groups, config=CONFIG)
    assert [head.penalty for head in judged.heads] == [0.3] * 5
    parts = [
        {row.tobytes() for row in features[train]}
        for train, _ in grouped_folds(classes, groups, folds=5, seed=CONFIG.seed)
    ]
    assert seen == fitted == parts


def test_each_picture_is_predicted_by_the_head_of_its_fold() -> None:
    features, classes, groups = drawn()
    judged = cross_validate(features, classes, groups, config=CONFIG)
    parts = grouped_folds(classes, groups, folds=5, seed=CONFIG.seed)
    for fold, (head, (_, test)) in enumerate(zip(judged.heads, parts, strict=True)):
        assert np.flatnonzero(judged.folds == fold).tolist() == test.tolist()
        assert (judged.logits[test] == head.logits(features[test])).all()


def test_inner_folds_divide_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    features, classes, groups = drawn()

    def choose(_: Features, __: Classes, folds: Sequence[Any], **options: Any) -> float:
        assert len(folds) == CONFIG.inner_folds
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
        return float(options["penalties"][0])

    monkeypatch.setattr(cross_validation, "choose_penalty", choose)
    assert best_penalty(features, classes, groups, config=CONFIG) == 0.03
