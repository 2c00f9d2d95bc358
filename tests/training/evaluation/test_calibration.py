"""Temperature, calibration error and threshold, against planted truths and many draws."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom

from training.evaluation import calibration
from training.evaluation.calibration import (
    Calibration,
    Decision,
    calibration_error,
    consistency_band,
    fit_temperature,
    reliability,
)
from training.evaluation.head import Classes, softmax

Probabilities = NDArray[np.float64]


def sample(chances: Probabilities, random: np.random.Generator) -> Classes:
    """One class a row, drawn with the row's chances."""
    drawn = (random.random((len(chances), 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return np.asarray(np.minimum(drawn, chances.shape[1] - 1), dtype=np.int64)


def sure(
    confidence: list[float], wrong: list[bool], num_classes: int = 2
) -> tuple[Probabilities, Classes]:
    """Answers for class 0 of those confidences, and the true classes."""
    top = np.array(confidence)
    rest = np.repeat(((1 - top) / (num_classes - 1))[:, None], num_classes - 1, axis=1)
    return np.column_stack([top, rest]), np.array(wrong, dtype=np.int64)


def calibrate(logits: NDArray[np.float64], classes: Classes) -> Calibration:
    """Calibrate pictures that are independent, in five folds."""
    names = np.arange(len(classes))
    return calibration.calibrate(logits, classes, names, names % 5)


def choose_threshold(
    probabilities: Probabilities,
    classes: Classes,
    *,
    target_error: float,
    groups: NDArray[np.int64] | None = None,
) -> Decision:
    """Choose the threshold of pictures that are independent unless they have groups."""
    return calibration.choose_threshold(
        probabilities,
        classes,
        np.arange(len(classes)) if groups is None else groups,
        target_error=target_error,
    )


# --- temperature ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 3, 6])
@pytest.mark.parametrize("planted", [0.4, 1.0, 2.5, 8.0])
def test_calibrate_finds_a_planted_temperature(num_classes: int, planted: float) -> None:
    random = np.random.default_rng(num_classes)
    logits = random.normal(size=(20_000, num_classes)) * 3 * planted
    classes = sample(softmax(logits / planted), random)
    found = calibrate(logits, classes)
    assert found.temperature == pytest.approx(planted, rel=0.06)
    assert found.ece_after < 0.02
    if planted > 2:
        assert found.ece_before > 0.05 > found.ece_after


def test_calibrate_keeps_predictions_and_their_order() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(300, 2)) * 5
    classes = sample(softmax(logits / 4), random)
    temperature = calibrate(logits, classes).temperature
    assert temperature > 2
    before, after = softmax(logits), softmax(logits / temperature)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert (np.argsort(before[:, 1]) == np.argsort(after[:, 1])).all()
    assert float(after.max(axis=1).mean()) < float(before.max(axis=1).mean())


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("margin", [2.0, 10.0, 1e4])
def test_fit_temperature_without_mistakes_is_bounded(num_classes: int, margin: float) -> None:
    classes = np.repeat(np.arange(num_classes), 50).astype(np.int64)
    logits = np.eye(num_classes)[classes] * margin
    assert 0.2 <= fit_temperature(logits, classes) <= 1.0


def test_calibrate_leaves_confident_flawless_scores_alone() -> None:
    # Platt's targets toned these down: fresh pictures then had 2.8 % calibration error, not 0.8 %.
    classes = np.repeat([0, 1], 60).astype(np.int64)
    found = calibrate(np.eye(2)[classes] * 20, classes)
    assert found.temperature == pytest.approx(1.0, abs=0.01)
    assert found.ece_after == found.ece_before < 0.001


def test_calibrate_keeps_temperature_one_where_a_fit_does_not_win() -> None:
    kept = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        logits = random.normal(size=(120, 2)) * 2
        found = calibrate(logits, sample(softmax(logits), random))
        kept.append(found.temperature == 1.0)
        if found.temperature == 1.0:
            assert found.log_loss == found.log_loss_before
        low, high = found.log_loss_interval_95
        assert 0 < low < found.log_loss < high
    assert np.mean(kept) >= 0.85


def test_calibrate_of_random_logits_tones_them_down() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, 200)
    found = calibrate(random.normal(size=(200, 2)) * 30, classes)
    assert 10.0 < found.temperature <= 20.0
    assert found.log_loss < found.log_loss_before


def test_fit_temperature_minimises_the_loss_and_its_prior() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(400, 3)) * 4
    classes = sample(softmax(logits / 2), random)
    best = fit_temperature(logits, classes)

    def loss(temperature: float) -> float:
        chances = softmax(logits / temperature)[np.arange(400), classes]
        prior = np.log(temperature) ** 2 / (2 * calibration._PRIOR_DEVIATION**2)
        return float(-np.log(chances).sum() + prior)

    assert loss(best) <= min(loss(best * 0.99), loss(best * 1.01))


def test_fit_temperature_of_copies_counts_groups() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(30, 2)) * 6
    classes = sample(softmax(logits / 3), random)
    alone = fit_temperature(logits, classes)
    copied = fit_temperature(logits.repeat(8, axis=0), classes.repeat(8), np.arange(30).repeat(8))
    assert copied == pytest.approx(alone, rel=0.02)


# --- calibration error ---------------------------------------------------------------------


def test_reliability_by_hand() -> None:
    # Bins of 1/15: 0.95 and 0.97 share the last, 0.60 and 0.65 share [9/15, 10/15), 0.72 is alone.
    probabilities, classes = sure([0.95, 0.97, 0.61, 0.65, 0.72], [False, True, True, True, False])
    rows = reliability(probabilities, classes)
    assert [pytest.approx(row) for row in rows] == [
        (0.63, 0.0, 0.4),
        (0.72, 1.0, 0.2),
        (0.96, 0.5, 0.4),
    ]


@pytest.mark.parametrize("pictures", [60, 120, 360])
def test_calibration_error_of_few_calibrated_pictures_is_small(pictures: int) -> None:
    found, inside = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        chances = softmax(random.normal(size=(pictures, 2)) * 2)
        found.append(calibration_error(chances, sample(chances, random)))
        inside.append(found[-1] <= consistency_band(chances))
    # Without the correction for chance the mean is 11 % for 60 pictures, 5 % for 360.
    assert np.mean(found) < 0.5 / pictures**0.5
    assert np.mean(inside) >= 0.85


def test_calibration_error_of_many_pictures_is_the_gap() -> None:
    probabilities, classes = sure([0.9] * 10_000, [index < 3000 for index in range(10_000)])
    assert calibration_error(probabilities, classes) == pytest.approx(0.2, abs=0.001)


def test_reliability_has_a_bin_for_full_confidence() -> None:
    probabilities, classes = sure([1.0, 1.0, 1.0, 1.0], [False, False, False, True])
    assert reliability(probabilities, classes) == [(1.0, 0.75, 1.0)]
    assert calibration_error(probabilities, classes) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_calibration_error_of_calibrated_draws_is_small(num_classes: int) -> None:
    random = np.random.default_rng(num_classes)
    chances = softmax(random.normal(size=(50_000, num_classes)) * 2)
    classes = sample(chances, random)
    assert calibration_error(chances, classes) < 0.01
    overconfident = softmax(np.log(chances) * 3)
    assert calibration_error(overconfident, classes) > 0.08


# --- threshold -----------------------------------------------------------------------------


def upper(errors: int, given: int) -> float:
    """Clopper-Pearson's one-sided 95 % bound, from its definition."""
    if errors == given:
        return 1.0
    return float(brentq(lambda share: binom.cdf(errors, given, share) - 0.05, 1e-12, 1 - 1e-12))


@pytest.mark.parametrize(
    ("errors", "given"), [(0, 10), (0, 299), (1, 40), (5, 60), (39, 40), (3, 3)]
)
def test_error_bound_is_clopper_pearson(errors: int, given: int) -> None:
    probabilities, classes = sure([0.9] * given, [index < errors for index in range(given)])
    found = choose_threshold(probabilities, classes, target_error=0.5)
    assert found.error_bound == pytest.approx(upper(errors, given), abs=1e-9)
    assert found.error == errors / given
    assert found.coverage == 1.0
    assert found.reached == (upper(errors, given) <= 0.5)


def test_choose_threshold_needs_299_correct_answers_for_one_percent() -> None:
    # 0.95 = 1 - 0.99^n, the rule of three made exact.
    for num_classes, reached in ((298, False), (299, True)):
        probabilities, classes = sure([0.9] * num_classes, [False] * num_classes)
        assert choose_threshold(probabilities, classes, target_error=0.01).reached is reached


def by_hand(
    probabilities: Probabilities, classes: Classes, target: float
) -> tuple[float, bool, float]:
    """(threshold, reached, bound) by trying thresholds from the strictest down."""
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != classes
    ranked = sorted(confidence.tolist(), reverse=True)
    rows = []
    for part in range(1, 21):
        threshold = ranked[-(-part * len(ranked) // 20) - 1]
        given = confidence >= threshold
        row = (threshold, int(wrong[given].sum()), int(given.sum()))
        if row not in rows:
            rows.append(row)
    one_passes = [upper(1, given) <= target for _, _, given in rows]
    none_passes = [upper(0, given) <= target for _, _, given in rows]
    start = (one_passes if any(one_passes) else [*none_passes, True]).index(True)
    kept = []
    for threshold, errors, given_count in rows[start:]:
        if upper(errors, given_count) > target:
            break
        kept.append((threshold, upper(errors, given_count)))
    observed = [(t, upper(e, g)) for t, e, g in rows if e <= target * g]
    if kept or observed:
        threshold, bound = (kept or observed)[-1]
    else:
        threshold, bound = min(((t, upper(e, g)) for t, e, g in rows), key=lambda row: row[1])
    return threshold, bool(kept), bound


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("target", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_choose_threshold_tests_from_the_strictest_down(
    num_classes: int, target: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Few distinct confidences, so that ties are the rule.
    chances = softmax(np.round(random.normal(size=(150, num_classes)) * 3))
    classes = sample(chances, random)
    found = choose_threshold(chances, classes, target_error=target)
    threshold, reached, bound = by_hand(chances, classes, target)
    assert (found.threshold, found.reached) == (threshold, reached)
    assert found.error_bound == pytest.approx(bound, abs=1e-6)
    given = chances.max(axis=1) >= found.threshold
    assert found.coverage == pytest.approx(given.mean())
    assert found.error == pytest.approx((chances.argmax(axis=1) != classes)[given].mean())
    assert found.target_error == target


def test_choose_threshold_stops_at_the_first_threshold_that_fails() -> None:
    # All of the errors lie in the middle: with the last answers the bound would be met again.
    wrong = [300 <= index < 340 for index in range(2000)]
    probabilities, classes = sure([0.99 - index / 1e4 for index in range(2000)], wrong)
    found = choose_threshold(probabilities, classes, target_error=0.05)
    assert found.reached
    assert found.coverage == 0.15
    assert upper(40, 2000) < 0.05


def test_error_bound_counts_near_copies_once() -> None:
    # 60 groups of 6 copies: 3 groups are wrong altogether, which is 3 of 60, not 18 of 360.
    wrong = (np.arange(360) // 6 < 3).tolist()
    probabilities, classes = sure([0.9] * 360, wrong)
    alone = choose_threshold(probabilities, classes, target_error=0.1)
    found = choose_threshold(probabilities, classes, target_error=0.1, groups=np.arange(360) // 6)
    assert alone.reached
    assert not found.reached
    assert alone.error == found.error
    assert found.error_bound == pytest.approx(upper(3, 60), abs=1e-6)


def test_false_promises_of_near_copies_are_rare() -> None:
    false = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        chances, classes = calibrated_draw(random, 60)
        found = choose_threshold(
            chances.repeat(6, axis=0),
            classes.repeat(6),
            target_error=0.06,
            groups=np.arange(60).repeat(6),
        )
        false.append(found.reached and true_error(found.threshold) > 0.06)
    assert np.mean(false) <= 0.05


def test_higher_target_error_never_lowers_coverage() -> None:
    random = np.random.default_rng(1)
    chances = softmax(random.normal(size=(600, 2)) * 4)
    classes = sample(chances, random)
    found = [
        choose_threshold(chances, classes, target_error=target)
        for target in (0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.5)
    ]
    assert all(decision.reached for decision in found)
    coverage = [decision.coverage for decision in found]
    assert coverage == sorted(coverage)
    assert coverage[0] < 0.6
    assert coverage[-1] == 1.0
    assert [decision.threshold for decision in found] == sorted(
        (decision.threshold for decision in found), reverse=True
    )


def test_choose_threshold_falls_back_to_the_observed_error() -> None:
    confidence = [0.99, 0.98, 0.97, 0.96, 0.95, 0.94]
    for wrong, target, threshold in (
        ([False, False, True, False, False, False], 0.2, 0.94),  # 1 of 6, and never the bound
        ([False, False, True, True, False, False], 0.2, 0.98),
        ([False, True, True, False, False, False], 0.2, 0.99),
    ):
        found = choose_threshold(*sure(confidence, wrong), target_error=target)
        assert found.reached is False
        assert found.threshold == threshold
        assert found.error <= target < found.error_bound


def test_choose_threshold_falls_back_to_the_lowest_bound() -> None:
    probabilities, classes = sure(
        [0.99, 0.98, 0.97, 0.96, 0.95, 0.94], [True, False, False, False, False, True]
    )
    found = choose_threshold(probabilities, classes, target_error=0.01)
    assert found.reached is False
    assert found.threshold == 0.95
    assert found.error_bound == pytest.approx(upper(1, 5))
    assert found.coverage == pytest.approx(5 / 6)
    assert found.error == 0.2


def test_choose_threshold_answers_down_to_the_first_mistake() -> None:
    probabilities, classes = sure(
        [0.99, 0.98, 0.97, 0.96, 0.95, 0.94], [False, False, False, False, True, True]
    )
    found = choose_threshold(probabilities, classes, target_error=0.01)
    assert found.reached is False
    assert found.threshold == 0.96
    assert found.error_bound == pytest.approx(upper(0, 4))
    assert found.error_bound > found.target_error
    assert found.coverage == pytest.approx(4 / 6)
    assert found.error == 0.0


def test_error_bound_is_one_if_every_answer_is_wrong() -> None:
    probabilities, classes = sure([0.9, 0.8], [True, True])
    found = choose_threshold(probabilities, classes, target_error=0.1)
    assert (found.reached, found.error_bound, found.error) == (False, 1.0, 1.0)


@pytest.mark.parametrize("index", range(0, 40, 13))
def test_equal_confidences_are_answered_together(index: int) -> None:
    # The one mistake stands anywhere among equals: wherever it is, it must count.
    wrong = [k == index for k in range(40)]
    probabilities, classes = sure([0.9] * 40, wrong)
    found = choose_threshold(probabilities, classes, target_error=0.08)
    assert found.error_bound == pytest.approx(upper(1, 40))
    assert found.reached is False
    assert found.coverage == 1.0


def test_threshold_is_never_below_the_lowest_confidence() -> None:
    probabilities, classes = sure([0.9 + k / 1e4 for k in range(400)], [False] * 400)
    found = choose_threshold(probabilities, classes, target_error=0.3)
    assert found.reached
    assert found.coverage == 1.0
    assert found.threshold == 0.9


def calibrated_draw(random: np.random.Generator, num_classes: int) -> tuple[Probabilities, Classes]:
    """Confidences from 1/2 to 1 with many high ones, and labels that honour them."""
    top = 0.5 + 0.5 * random.beta(4, 1, size=num_classes)
    chances = np.column_stack([top, 1 - top])
    return chances, sample(chances, random)


def true_error(threshold: float) -> float:
    """Error of the answers above a threshold, over the whole of that distribution."""
    least = 2 * threshold - 1  # of b, whose density is 4 b^3
    return 0.5 - 0.5 * 4 / 5 * (1 - least**5) / (1 - least**4)


@pytest.mark.parametrize("target", [0.03, 0.06])
def test_error_stays_under_the_target_over_many_draws(target: float) -> None:
    false, reached = [], []
    for seed in range(300):
        chances, classes = calibrated_draw(np.random.default_rng(seed), 1000)
        found: Decision = choose_threshold(chances, classes, target_error=target)
        reached.append(found.reached)
        false.append(found.reached and true_error(found.threshold) > target)
    assert sum(reached) > 60
    assert float(np.mean(false)) <= 0.05
