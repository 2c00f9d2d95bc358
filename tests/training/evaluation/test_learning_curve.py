"""Learning curve: planted power laws are recovered, and subsets are nested whole groups."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import FitConfig
from training.errors import TooFewPictures
from training.evaluation import learning_curve as curve
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features, fit_head
from training.evaluation.learning_curve import LearningCurve, learning_curve

CONFIG = dataclasses.replace(FitConfig(), folds=3)
SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)


def drawn(
    each: int, *, num_classes: int = 2, width: int = 600, apart: float = 3.0, seed: int = 0
) -> tuple[Features, Classes, NDArray[np.int64]]:
    """Overlapping blobs in many dimensions: each picture helps a little to find the border."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(num_classes), each).astype(np.int64)
    features = np.eye(num_classes, width)[classes] * apart + random.normal(
        size=(len(classes), width)
    )
    return features.astype(np.float32), classes, np.arange(len(classes))


def found(
    data: tuple[Features, Classes, NDArray[np.int64]], config: FitConfig = CONFIG
) -> LearningCurve:
    features, classes, groups = data
    num_classes = int(classes.max()) + 1
    return learning_curve(
        features, classes, groups, num_classes=num_classes, penalty=0.1, config=config
    )


@pytest.fixture(scope="module")
def rising() -> LearningCurve:
    return found(drawn(100))


def test_accuracy_rises_with_the_number_of_pictures(rising: LearningCurve) -> None:
    means = [point.mean for point in rising.points]
    assert len(means) == 6
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.05
    pictures = [point.pictures for point in rising.points]
    assert pictures == sorted(pictures)
    assert pictures[-1] == pytest.approx(400 / 3)  # two of three folds
    assert pictures[0] == pytest.approx(13, abs=2)
    for point in rising.points:
        assert 0.5 < point.low < point.mean < point.high < 1.0


def test_at_twice_lies_between_the_last_point_and_1(
    rising: LearningCurve,
) -> None:
    assert rising.at_twice is not None
    assert rising.interval_95 is not None
    low, high = rising.interval_95
    assert rising.points[-1].mean < rising.at_twice < 1.0
    assert low <= rising.at_twice <= high <= 1.0


def test_at_twice_predicts_the_accuracy_of_twice_the_data() -> None:
    # Of three times the data, a training part (two of three folds) is twice the data.
    promise, truth = found(drawn(100, seed=1)), found(drawn(300, seed=2)).points[-1]
    assert truth.pictures == pytest.approx(400)
    assert promise.at_twice == pytest.approx(truth.mean, abs=0.025)
    assert promise.at_twice != pytest.approx(promise.points[-1].mean, abs=0.005)


def test_learning_curve_depends_on_data_and_seed_alone(rising: LearningCurve) -> None:
    assert found(drawn(100)) == rising
    other = found(drawn(150), dataclasses.replace(CONFIG, seed=1))
    assert other.points != rising.points


def test_as_dict_holds_plain_numbers(rising: LearningCurve) -> None:
    given = rising.as_dict()
    assert set(given) == {"points", "at_twice", "interval_95", "outlook", "sentence"}
    assert set(given["points"][0]) == {"pictures", "mean", "low", "high"}
    assert {type(value) for point in given["points"] for value in point.values()} == {float}


# --- the sentence --------------------------------------------------------------------------


def test_outlook_of_a_flat_curve_is_same() -> None:
    full = found(drawn(50, apart=30, width=20))
    assert full.points[-1].mean == 1.0
    assert full.at_twice == pytest.approx(1.0)
    assert "would hardly help" in full.sentence
    assert "With twice the pictures (200)" in full.sentence


def test_outlook_of_a_rising_curve_is_more(rising: LearningCurve) -> None:
    assert "more pictures should help" in rising.sentence
    assert f"{rising.at_twice:.1%}" in rising.sentence


def test_outlook_of_contradicting_splits_is_unknown() -> None:
    # Three splits that contradict one another.
    shares = np.array(SHARES)
    table = np.array(
        [
            0.90 - 0.6 * (shares * 100) ** -0.5,
            np.full(6, 0.85),
            0.80 - 0.0 * shares,
        ]
    )
    given = curve._extrapolate(table, shares * 100, total=120, seed=0)
    assert "can't be told from this data" in given.sentence
    assert given.at_twice is not None


@pytest.mark.parametrize("each", [2, 6])
def test_too_few_pictures_give_no_estimate(each: int) -> None:
    few = found(drawn(each))
    assert few == LearningCurve([], None, None, "unknown", "There are too few pictures to tell.")


def test_fit_power_law_recovers_a_planted_law() -> None:
    pictures = np.array([20.0, 40, 70, 100, 140, 200])
    for floor, factor, exponent in ((0.0, 1.0, 0.5), (0.05, 2.0, 1.0), (0.1, 0.0, 1.0)):
        accuracy = 1 - floor - factor * pictures**-exponent
        at = 1 - floor - factor * 400.0**-exponent
        assert curve._fit_power_law(pictures, accuracy, 400) == pytest.approx(at, abs=1e-3)


def test_fit_power_law_does_not_extrapolate_a_fall() -> None:
    pictures = np.array([20.0, 40, 70, 100, 140, 200])
    accuracy = np.linspace(0.9, 0.8, 6)
    assert curve._fit_power_law(pictures, accuracy, 400) == pytest.approx(accuracy.mean(), abs=1e-6)


# --- the growing parts ---------------------------------------------------------------------


def parted(kind: str, seed: int) -> tuple[Classes, NDArray[np.int64]]:
    """Classes and groups: of one picture, of one class, of both, and unevenly mixed."""
    random = np.random.default_rng(seed)
    match kind:
        case "alone":
            return random.integers(0, 3, 120), np.arange(120)
        case "of one class":
            groups = np.repeat(np.arange(40), 3)
            return groups % 2, groups
        case "of both classes":
            return np.tile([0, 0, 1, 1], 30), np.repeat(np.arange(30), 4)
        case "rare":  # a class in few groups, and those hold the other, too
            groups = np.repeat(np.arange(60), 4)
            return ((groups % 3 == 0) & (np.arange(240) % 4 < 2)).astype(np.int64), groups
        case _:
            return random.integers(0, 2, 160), random.integers(0, 45, 160)


@pytest.mark.parametrize("kind", ["alone", "of one class", "of both classes", "mixed", "rare"])
@pytest.mark.parametrize("seed", range(3))
def test_nested_subsets_are_whole_groups_with_every_class(kind: str, seed: int) -> None:
    classes, groups = parted(kind, seed)
    parts = curve._nested_subsets(classes, groups, seed)
    assert parts is not None
    assert len(parts) == 6
    assert parts[-1].tolist() == list(range(len(classes)))
    sizes = [len(part) for part in parts]
    assert sizes == sorted(set(sizes))
    for part, larger in zip(parts, parts[1:], strict=False):
        assert set(part) < set(larger)
    for part in parts:
        assert not set(groups[part]) & set(np.delete(groups, part))
        assert min(np.bincount(classes[part], minlength=len(np.unique(classes)))) >= 2
    for share, part in zip(SHARES, parts, strict=True):
        for k in np.unique(classes):
            held = np.unique(groups[part][classes[part] == k])
            assert len(held) >= share * len(np.unique(groups[classes == k]))


@pytest.mark.parametrize("kind", ["alone", "of one class", "of both classes"])
def test_nested_subsets_hold_about_their_share(kind: str) -> None:
    classes, groups = parted(kind, 0)
    parts = curve._nested_subsets(classes, groups, 0)
    assert parts is not None
    for share, part in zip(SHARES, parts, strict=True):
        for k in np.unique(classes):
            held = (classes[part] == k).sum() / (classes == k).sum()
            assert held == pytest.approx(share, abs=0.06)


def test_no_head_is_tested_on_a_group_that_it_was_fitted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, classes, _ = drawn(50, width=20)
    groups = np.arange(100) // 2
    real = fit_head
    fitted: list[set[bytes]] = []

    class Spy:
        def __init__(self, head: object) -> None:
            self.head = head

        def logits(self, judged: Features) -> NDArray[np.float64]:
            group = {row.tobytes(): name for row, name in zip(features, groups, strict=True)}
            seen = {group[row] for row in fitted[-1]}
            assert not seen & {group[row.tobytes()] for row in judged}
            return self.head.logits(judged)  # type: ignore[attr-defined, no-any-return]

    def fit(features: Features, *arguments: object, **options: object) -> Spy:
        fitted.append({row.tobytes() for row in features})
        return Spy(real(features, *arguments, **options))  # type: ignore[arg-type]

    monkeypatch.setattr(curve, "fit_head", fit)
    assert len(found((features, classes, groups)).points) == 6
    assert len(fitted) == 4 * 3 * 6


def test_unusable_splits_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    real = grouped_folds

    def folds(*arguments: object, seed: int, **options: object) -> object:
        if seed in bad:
            raise TooFewPictures("text.")
        return real(*arguments, seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(curve, "grouped_folds", folds)
    bad = {1, 2}
    assert len(found(drawn(50, width=20)).points) == 6
    bad = {0, 1, 2, 3}
    assert found(drawn(50, width=20)).points == []
