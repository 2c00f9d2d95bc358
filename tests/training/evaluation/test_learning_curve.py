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
MEASURED = (0.8, [0.74, 0.85])
"""Balanced accuracy of a cross-validation, and its interval."""

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
    return learning_curve(
        features,
        classes,
        groups,
        penalty=0.1,
        measured=MEASURED,
        config=config,
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


def test_at_twice_is_the_measured_accuracy_and_the_gain(rising: LearningCurve) -> None:
    assert rising.gain is not None
    assert rising.gain_interval_95 is not None
    assert rising.interval_95 is not None
    assert rising.gain_interval_95[0] <= rising.gain <= rising.gain_interval_95[1]
    assert rising.at_twice == pytest.approx(MEASURED[0] + rising.gain)
    low, high = rising.interval_95
    assert low < MEASURED[0] + rising.gain < high <= 1.0


def test_forecast_is_never_narrower_than_the_measured_accuracy(rising: LearningCurve) -> None:
    assert rising.interval_95 is not None
    low, high = rising.interval_95
    assert high - low >= MEASURED[1][1] - MEASURED[1][0]
    for point in rising.points:
        assert point.high - point.low > 0.05


def test_gain_predicts_the_accuracy_of_twice_the_data() -> None:
    # Of three times the data, a training part (two of three folds) is twice the data.
    promise, truth = found(drawn(100, seed=1)), found(drawn(300, seed=2)).points[-1]
    assert truth.pictures == pytest.approx(400)
    assert promise.gain_interval_95 is not None
    low, high = promise.gain_interval_95
    at_total = curve._fit_power_law(
        np.array([point.pictures for point in promise.points]),
        np.array([[point.mean for point in promise.points]]),
        (200,),
    )[0, 0]
    # Both ends are within two standard errors of the truth's own.
    assert low - 0.02 <= truth.mean - at_total <= high + 0.02


def test_learning_curve_depends_on_data_and_seed_alone(rising: LearningCurve) -> None:
    assert found(drawn(100)) == rising
    other = found(drawn(150), dataclasses.replace(CONFIG, seed=1))
    assert other.points != rising.points


def test_draws_of_large_sets_are_made_in_parts(
    rising: LearningCurve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "_MAX_WEIGHTS", 7 * 200 + 1)  # 7 draws of the 200 groups at a time
    parts = found(drawn(100))
    assert parts.gain_interval_95 == pytest.approx(rising.gain_interval_95, abs=1e-9)
    for point, other in zip(parts.points, rising.points, strict=True):
        assert dataclasses.astuple(point) == pytest.approx(dataclasses.astuple(other), abs=1e-9)


def test_as_dict_holds_plain_numbers(rising: LearningCurve) -> None:
    given = dataclasses.asdict(rising)
    assert set(given) == {
        "points",
        "gain",
        "gain_interval_95",
        "at_twice",
        "interval_95",
        "outlook",
        "sentence",
    }
    assert set(given["points"][0]) == {"pictures", "mean", "low", "high"}
    assert {type(value) for point in given["points"] for value in point.values()} == {float}


# --- the sentence --------------------------------------------------------------------------


def test_no_forecast_from_under_ten_errors() -> None:
    # It was "100.0 % (100.0 % to 100.0 %): more of the same would hardly help".
    full = found(drawn(50, apart=30, width=20))
    assert full.points[-1].mean == 1.0
    assert full.points[-1].low < 0.97
    assert (full.gain, full.at_twice, full.interval_95) == (None, None, None)
    assert full.outlook == "unknown"
    assert "cannot be estimated" in full.sentence


def test_errors_of_copies_count_once() -> None:
    classes = np.repeat([0, 1], 180)
    hits = np.ones((6, 360))
    hits[:, np.arange(360) // 6 % 12 == 0] = 0.0  # 30 errors, in 5 groups of 6
    found_of = [
        curve.extrapolate(
            hits,
            classes,
            groups,
            288 * np.array(SHARES),
            total=360,
            measured=MEASURED,
            config=CONFIG,
        )
        for groups in (np.arange(360), np.arange(360) // 6)
    ]
    assert found_of[0].at_twice is not None
    assert found_of[1].at_twice is None


def test_outlook_of_a_rising_curve(rising: LearningCurve) -> None:
    assert rising.gain is not None
    assert f"gain about {100 * rising.gain:.1f} points" in rising.sentence
    assert "Twice the pictures (400)" in rising.sentence


@pytest.mark.parametrize(
    ("interval", "outlook"),
    [([0.01, 0.04], "more"), ([0.0, 0.004], "same"), ([0.0, 0.03], "unknown")],
)
def test_outlook_follows_the_interval_of_the_gain(interval: list[float], outlook: str) -> None:
    assert curve._outlook(interval) == outlook


@pytest.mark.parametrize("each", [2, 6])
def test_too_few_pictures_give_no_estimate(each: int) -> None:
    few = found(drawn(each))
    assert (few.points, few.at_twice, few.outlook) == ([], None, "unknown")
    assert few.sentence == "There are too few pictures to tell."


def test_fit_power_law_recovers_a_planted_law() -> None:
    pictures = np.array([20.0, 40, 70, 100, 140, 200])
    for floor, factor, exponent in ((0.0, 1.0, 0.5), (0.05, 2.0, 1.0), (0.1, 0.0, 1.0)):
        accuracy = 1 - floor - factor * pictures**-exponent
        at = 1 - floor - factor * 400.0**-exponent
        assert curve._fit_power_law(pictures, accuracy[None], (400,))[0, 0] == pytest.approx(
            at, abs=1e-3
        )


def test_fit_power_law_does_not_extrapolate_a_fall() -> None:
    pictures = np.array([20.0, 40, 70, 100, 140, 200])
    accuracy = np.linspace(0.9, 0.8, 6)
    at = curve._fit_power_law(pictures, accuracy[None], (400,))[0, 0]
    assert at == pytest.approx(accuracy.mean(), abs=1e-6)


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
