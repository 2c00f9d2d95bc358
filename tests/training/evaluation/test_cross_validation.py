"""Judging: never on a group that was learnt from, and never surer than the pictures allow."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation import cross_validation
from training.evaluation.cross_validation import (
    best_penalty,
    cross_validate,
    grouped_folds,
    summarise,
)
from training.evaluation.head import Classes, Features, fit_on_views, softmax

CONFIG = dataclasses.replace(FitConfig(), penalties=(0.03, 0.3), draws=4000)


def drawn(
    count: int = 2, each: int = 30, group_size: int = 3, seed: int = 0, spread: float = 1.0
) -> tuple[Features, Classes, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(count), each).astype(np.int64)
    groups = (np.arange(len(classes)) // group_size).astype(np.int64)
    centres = np.eye(count, 6)[classes] * 4
    features = centres + random.normal(size=centres.shape) * spread
    order = random.permutation(len(classes))
    return features[order].astype(np.float32), classes[order], groups[order]


@pytest.mark.parametrize("group_size", [1, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_no_group_is_in_two_folds_and_every_picture_is_judged_once(
    group_size: int, seed: int
) -> None:
    _, classes, groups = drawn(3, 28, group_size, seed)
    judged = np.zeros(len(classes), dtype=int)
    for fit_on, judge_on in grouped_folds(classes, groups, folds=4, seed=seed):
        assert not set(groups[fit_on]) & set(groups[judge_on])
        assert set(fit_on) | set(judge_on) == set(range(len(classes)))
        assert set(classes[fit_on]) == {0, 1, 2}
        judged[judge_on] += 1
    assert (judged == 1).all()


def test_few_groups_give_fewer_folds() -> None:
    _, classes, groups = drawn(2, 12, 4)
    assert len(grouped_folds(classes, groups, folds=5, seed=0)) == 3


def test_folds_repeat_with_their_seed() -> None:
    _, classes, groups = drawn()
    one, same, other = (
        [judge_on.tolist() for _, judge_on in grouped_folds(classes, groups, folds=5, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_class_of_one_group_cannot_be_judged() -> None:
    classes = np.repeat(np.array([0, 1]), 10)
    groups = np.concatenate([np.arange(10), np.full(10, 99)])
    with pytest.raises(TooFewPictures, match="independent"):
        grouped_folds(classes, groups, folds=5, seed=0)


def test_a_training_part_without_a_class_is_refused() -> None:
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


def test_what_is_easy_is_judged_right_and_what_is_noise_is_not() -> None:
    for spread, low, high in ((0.3, 0.99, 1.0), (50.0, 0.3, 0.7)):
        features, classes, groups = drawn(2, 60, 2, spread=spread)
        judged = cross_validate(features, classes, groups, count=2, config=CONFIG)
        share = float((judged.logits.argmax(1) == classes).mean())
        assert low <= share <= high


def test_leaked_groups_are_not_rewarded() -> None:
    # Each group has a fingerprint of its own and says nothing of its class.
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 6)
    classes = (groups % 2).astype(np.int64)
    features = (random.normal(size=(30, 40))[groups] * 3).astype(np.float32)
    judged = cross_validate(features, classes, groups, count=2, config=CONFIG)
    assert float((judged.logits.argmax(1) == classes).mean()) < 0.75
    alone = cross_validate(features, classes, np.arange(180), count=2, config=CONFIG)
    assert float((alone.logits.argmax(1) == classes).mean()) > 0.95


def test_of_many_pictures_the_penalty_is_chosen_on_some_of_each_class(
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
        assert best_penalty(features, classes, groups, count=2, config=config) == 0.3
        assert len(seen[-1]) == wanted
    shares = [np.bincount(found) / len(found) for found in seen]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.05)


def test_the_penalty_is_chosen_on_the_training_part_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, classes, groups = drawn()
    seen: list[set[bytes]] = []
    fitted: list[set[bytes]] = []
    real = fit_on_views

    def choose(features: Features, classes: Classes, folds: Sequence[Any], **options: Any) -> float:
        seen.append({row.tobytes() for row in features})
        return 0.3

    def fit(features: Features, views: None, classes: Classes, **options: Any) -> Any:
        assert options["penalty"] == 0.3
        fitted.append({row.tobytes() for row in features})
        return real(features, views, classes, **options)

    monkeypatch.setattr(cross_validation, "choose_penalty", choose)
    monkeypatch.setattr(cross_validation, "fit_on_views", fit)
    judged = cross_validate(features, classes, groups, count=2, config=CONFIG)
    assert [head.penalty for head in judged.heads] == [0.3] * 5
    parts = [
        {row.tobytes() for row in features[fit_on]}
        for fit_on, _ in grouped_folds(classes, groups, folds=5, seed=CONFIG.seed)
    ]
    assert seen == fitted == parts


def test_every_picture_is_judged_by_the_head_of_its_fold() -> None:
    features, classes, groups = drawn()
    judged = cross_validate(features, classes, groups, count=2, config=CONFIG)
    parts = grouped_folds(classes, groups, folds=5, seed=CONFIG.seed)
    for fold, (head, (_, judge_on)) in enumerate(zip(judged.heads, parts, strict=True)):
        assert np.flatnonzero(judged.folds == fold).tolist() == judge_on.tolist()
        assert (judged.logits[judge_on] == head.logits(features[judge_on])).all()


def test_the_inner_folds_respect_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    features, classes, groups = drawn()

    def choose(_: Features, __: Classes, folds: Sequence[Any], **options: Any) -> float:
        assert len(folds) == CONFIG.inner_folds
        for fit_on, judge_on in folds:
            assert not set(groups[fit_on]) & set(groups[judge_on])
        return float(options["penalties"][0])

    monkeypatch.setattr(cross_validation, "choose_penalty", choose)
    assert best_penalty(features, classes, groups, count=2, config=CONFIG) == 0.03


# --- figures -------------------------------------------------------------------------------


def certain(answers: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    return np.eye(count)[answers]


def summary(
    answers: Sequence[int],
    classes: Sequence[int],
    groups: Sequence[int] | None = None,
    count: int = 2,
) -> dict[str, Any]:
    truth = np.array(classes, dtype=np.int64)
    return summarise(
        certain(np.array(answers), count),
        truth,
        np.arange(len(truth)) if groups is None else np.array(groups),
        [f"c{k}" for k in range(count)],
        config=CONFIG,
    )


def test_figures_are_counted_right() -> None:
    found = summary([0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1])
    assert found["pictures"] == found["groups"] == 6
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["recall"] == {"c0": 0.75, "c1": 0.5}
    assert found["precision"] == {"c0": 0.75, "c1": 0.5}
    assert found["confusion"] == [[3, 1], [1, 1]]


def test_precision_is_that_of_the_answers_given() -> None:
    classes, answers = [0, 0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 1, 1, 1]
    found = summary(answers, classes, count=3)
    wanted = precision_score(classes, answers, average=None, zero_division=0.0)
    assert found["precision"] == {"c0": wanted[0], "c1": pytest.approx(wanted[1])}
    assert found["precision"]["c1"] == pytest.approx(2 / 6)
    assert found["recall"] == {"c0": 0.25, "c1": 1.0, "c2": 0.0}
    assert set(found["precision_interval_95"]) == {"c0", "c1"}  # nothing was taken for c2


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_figures_agree_with_scikit_learn(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, count, 120)
    probabilities = softmax(random.normal(size=(120, count)) + np.eye(count)[classes])
    labels = [f"c{k}" for k in range(count)]
    found = summarise(probabilities, classes, np.arange(120) // 2, labels, config=CONFIG)
    answers = probabilities.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(classes, answers))
    assert found["mean_score"] == pytest.approx(probabilities.max(axis=1).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(classes, answers))
    assert found["confusion"] == confusion_matrix(classes, answers).tolist()
    for name, score in (("precision", precision_score), ("recall", recall_score)):
        assert list(found[name]) == labels
        assert list(found[name].values()) == pytest.approx(score(classes, answers, average=None))
    area = (
        roc_auc_score(classes, probabilities[:, 1])
        if count == 2
        else roc_auc_score(classes, probabilities, multi_class="ovr", average="macro")
    )
    assert found["roc_auc"] == pytest.approx(area)
    low, high = found["roc_auc_interval_95"]
    assert 0.5 < low < found["roc_auc"] < high < 1.0


def test_the_area_under_the_curve_is_surer_the_more_groups_there_are() -> None:
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1], 100)
    probabilities = softmax(random.normal(size=(200, 2)) + np.eye(2)[classes])
    width = []
    for groups in (np.arange(200), np.arange(200) // 20):
        # Pictures of a group say nearly the same.
        shared = softmax(np.log(probabilities[np.unique(groups, return_index=True)[1][groups]]))
        found = summarise(shared, classes, groups, ["a", "b"], config=CONFIG)
        low, high = found["roc_auc_interval_95"]
        width.append(high - low)
    assert width[1] > 2 * width[0]


def test_one_class_alone_has_no_area_under_a_curve() -> None:
    found = summary([0, 1, 0], [0, 0, 0])
    assert found["roc_auc"] is None
    assert found["roc_auc_interval_95"] is None
    assert found["recall"] == {"c0": pytest.approx(2 / 3)}
    assert found["precision"] == {"c0": 1.0, "c1": 0.0}


def test_the_smallest_of_test_sets_has_every_figure() -> None:
    found = summary([0, 1], [0, 1])
    assert found["roc_auc"] == 1.0
    assert found["roc_auc_interval_95"] == [1.0, 1.0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def intervals(found: dict[str, Any]) -> list[tuple[float, float, float]]:
    """(low, value, high) of every figure."""
    rows = [
        (found[name + "_interval_95"][0], found[name], found[name + "_interval_95"][1])
        for name in ("accuracy", "balanced_accuracy")
    ]
    for name in ("recall", "precision"):
        for label, value in found[name].items():
            low, high = found[name + "_interval_95"][label]
            rows.append((low, value, high))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_intervals_hold_their_value_and_lie_between_0_and_1(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, 90)
    answers = np.where(random.random(90) < 0.8, classes, random.integers(0, 3, 90))
    for low, value, high in intervals(summary(answers.tolist(), classes.tolist(), count=3)):
        assert 0.0 < low < value < high < 1.0
        assert high - low < 0.45


@pytest.mark.parametrize("right", [True, False])
def test_a_perfect_or_hopeless_score_is_still_uncertain(right: bool) -> None:
    classes = [0] * 30 + [1] * 30
    found = summary([k if right else 1 - k for k in classes], classes)
    for low, value, high in intervals(found):
        if right:
            assert 0.8 < low < 1.0 == value
        else:
            assert value == 0.0 < high < 0.2


def test_sixty_of_sixty_is_what_the_docstring_says() -> None:
    found = summary([0] * 60 + [1] * 60, [0] * 60 + [1] * 60)
    low, high = found["recall_interval_95"]["c0"]
    assert low == pytest.approx(0.96, abs=0.01)
    assert high > 0.999


def test_fewer_groups_give_wider_intervals() -> None:
    classes = [0] * 40 + [1] * 40
    answers = [0] * 36 + [1] * 4 + [1] * 36 + [0] * 4
    narrow = summary(answers, classes)
    wide = summary(answers, classes, [place // 8 for place in range(80)])
    for (low, _, high), (wide_low, _, wide_high) in zip(
        intervals(narrow), intervals(wide), strict=True
    ):
        assert wide_high - wide_low > 1.5 * (high - low)
    assert wide["groups"] == 10


def test_a_class_without_pictures_is_left_out_of_the_means() -> None:
    found = summary([0, 0, 1, 2], [0, 0, 1, 1], count=3)
    assert set(found["recall"]) == {"c0", "c1"}
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert found["confusion"][2] == [0, 0, 0]


def test_figures_repeat_with_their_seed() -> None:
    assert summary([0, 1, 1, 0], [0, 0, 1, 1]) == summary([0, 1, 1, 0], [0, 0, 1, 1])
