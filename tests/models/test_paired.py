"""Paired test of a model that must not be worse by a margin."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from models.correlation import group_correlation, rare_event_correlation
from models.paired import MAX_FALSE_ALARMS, paired_test
from models.score_test import score_interval, score_statistic, sign_test
from tests import ROOT, WAIT_S
from training.evaluation.intervals import Design


def answers(size: int, gained: int, lost: int) -> tuple[np.ndarray, np.ndarray]:
    """Return correct answers of the old and the new model, spread over two classes in turn."""
    old, new = np.ones(size, dtype=bool), np.ones(size, dtype=bool)
    old[:gained] = False
    new[gained : gained + lost] = False
    return old, new


def test_statistic_is_that_of_tango() -> None:
    # 360 pictures, none answered differently, margin 1.5 points.
    assert score_statistic(0, 0, 360, -0.015) == pytest.approx(2.34, abs=0.005)
    # Without discordance the interval ends at z^2 / (n + z^2).
    assert score_interval(0, 0, 54, z=1.96) == pytest.approx((-0.0664, 0.0664), abs=1e-4)
    # 12 and 2 of 50 discordant: the example of Newcombe (1998) and Tango (1998).
    assert score_interval(12, 2, 50, z=1.959964) == pytest.approx((0.0611, 0.3447), abs=1e-4)


@pytest.mark.parametrize(("gained", "lost", "size"), [(5, 0, 5), (0, 5, 5), (3, 9, 40), (0, 1, 9)])
def test_interval_holds_the_difference_and_mirrors(gained: int, lost: int, size: int) -> None:
    low, high = score_interval(gained, lost, size)
    assert -1 <= low <= (gained - lost) / size <= high <= 1
    assert score_interval(lost, gained, size) == pytest.approx((-high, -low))


def test_178_pictures_without_discordance_show_the_margin_and_177_do_not() -> None:
    for size, shown in ((178, True), (176, False)):
        old, new = answers(size, 0, 0)
        found = paired_test(
            old, new, np.arange(size) % 2, np.arange(size), np.zeros(size), margin=0.015
        )
        assert found.not_worse is shown
        assert (found.resolution < 0.015) is shown
        assert found.difference == 0.0


@pytest.mark.parametrize(("noise", "shown"), [(0.05, False), (1.5, True)])
def test_copies_of_a_picture_count_once(noise: float, shown: bool) -> None:
    old, new = answers(360, 0, 0)
    groups, random = np.arange(360) // 6, np.random.default_rng(0)
    scores = random.normal(size=60)[groups] + random.normal(0, noise, 360)
    classes = np.arange(360) // 180
    assert paired_test(old, new, classes, np.arange(360), scores, margin=0.015).not_worse
    assert paired_test(old, new, classes, groups, scores, margin=0.015).not_worse is shown
    few = np.arange(360) // 30
    assert not paired_test(old, new, classes, few, scores, margin=0.015).not_worse


def test_groups_that_change_together_count_once() -> None:
    groups = np.arange(1000) // 10
    old, new = np.ones(1000, dtype=bool), ~np.isin(groups, [3, 50])
    alone, grouped = (
        paired_test(old, new, np.arange(1000) % 2, of, np.zeros(1000), margin=0.05)
        for of in (np.arange(1000), groups)
    )
    assert grouped.interval_90[0] < alone.interval_90[0] - 0.01


def test_loss_of_the_small_class_counts_as_much() -> None:
    classes = np.repeat([0, 1], [1000, 60])
    old, new = np.ones(1060, dtype=bool), np.ones(1060, dtype=bool)
    new[-6:] = False  # a tenth of the small class
    found = paired_test(old, new, classes, np.arange(1060), np.zeros(1060), margin=0.015)
    assert found.difference == pytest.approx(-0.05)
    assert (found.gained, found.lost, found.not_worse) == (0, 6, False)


@pytest.mark.parametrize("size", [100, 360, 1000])
def test_a_loss_at_the_margin_is_accepted_in_five_percent(size: int) -> None:
    random = np.random.default_rng(0)
    taken = 0
    for _ in range(400):
        outcome = random.choice([1, -1, 0], p=[0.005, 0.02, 0.975], size=size)
        found = paired_test(
            outcome < 1,
            outcome > -1,
            np.arange(size) % 2,
            np.arange(size),
            np.zeros(size),
            margin=0.015,
        )
        taken += found.not_worse
    assert taken / 400 <= 0.075


def test_equal_models_are_accepted_where_pictures_are_many() -> None:
    random = np.random.default_rng(1)
    taken = 0
    for _ in range(100):
        outcome = random.choice([1, -1, 0], p=[0.01, 0.01, 0.98], size=1000)
        found = paired_test(
            outcome < 1,
            outcome > -1,
            np.arange(1000) % 2,
            np.arange(1000),
            np.zeros(1000),
            margin=0.015,
        )
        taken += found.not_worse
    assert taken >= 85


@pytest.mark.parametrize(("latent", "expected"), [(0.0, 0.0), (0.3, 0.05), (0.95, 0.69)])
def test_rare_events_correlate_less_than_scores(latent: float, expected: float) -> None:
    random = np.random.default_rng(0)
    groups = np.arange(20_000) // 4
    shared, own = random.normal(size=5000)[groups], random.normal(size=20_000)
    scores = latent**0.5 * shared + (1 - latent) ** 0.5 * own
    found = rare_event_correlation(scores, np.zeros(20_000, np.int64), groups, share=0.015)
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("gained", "lost", "verdict"),
    [
        (12, 0, "better"),
        (6, 0, "better"),
        (8, 1, "better"),
        (5, 0, "not worse"),
        (7, 2, "not worse"),  # the score test alone is convinced
        (0, 0, "not worse"),
        (0, 12, "worse"),
        (2, 7, "not shown"),
        (8, 10, "not shown"),
    ],
)
def test_verdict_and_its_sentence(gained: int, lost: int, verdict: str) -> None:
    old, new = answers(360, gained, lost)
    every = np.arange(360)
    found = paired_test(old, new, every % 2, every, np.zeros(360))
    assert found.verdict == verdict
    assert found.not_worse is (verdict in ("better", "not worse"))
    figures = found.as_dict()
    assert figures["verdict"] == verdict
    assert figures["interval_90"] == list(found.interval_90)
    assert f"{gained} fixed, {lost} broken" in found.sentence
    assert "+-" not in found.sentence
    assert "-0.0" not in found.sentence


def test_sign_test_is_exact() -> None:
    assert sign_test(6, 0) == 1 / 64
    assert sign_test(8, 1) == 10 / 512
    assert sign_test(0, 0) == 1.0
    assert sign_test(600, 600) == pytest.approx(0.5115, abs=1e-4)


def test_loss_of_a_class_is_named_although_another_gains_more() -> None:
    classes = np.repeat(["mask", "no_mask"], 180)
    old, new = np.ones(360, dtype=bool), np.ones(360, dtype=bool)
    old[:20], new[-9:] = False, False
    found = paired_test(old, new, classes, np.arange(360), np.zeros(360))
    assert found.interval_90[0] > 0
    assert [part.name for part in found.worse_parts] == ["class no_mask"]
    assert (found.verdict, found.not_worse) == ("worse", False)
    assert "worse for class no_mask (0 fixed, 9 broken of 180): balanced" in found.sentence
    assert found.parts[1].p_value == 2 / 2**9  # Holm's: the smaller of two
    assert found.parts[0].p_value > 0.99


def test_loss_within_the_margin_accuses_no_class() -> None:
    classes = np.repeat(["mask", "no_mask"], 5000)
    old, new = np.ones(10_000, dtype=bool), np.ones(10_000, dtype=bool)
    new[:20] = False
    found = paired_test(old, new, classes, np.arange(10_000), np.zeros(10_000))
    assert found.parts[0].p_value < 1e-5
    assert (found.worse_parts, found.verdict) == ((), "not worse")


def test_loss_of_a_slice_is_named_in_the_sentence() -> None:
    old, new = np.ones(600, dtype=bool), np.ones(600, dtype=bool)
    new[:12] = False
    old[12:24] = False
    light = ["dark"] * 60 + ["bright"] * 500 + [""] * 40
    every = np.arange(600)
    found = paired_test(old, new, every % 2, every, np.zeros(600), slices={"light": light})
    assert [part.name for part in found.parts] == [
        "class 0", "class 1", "light: dark", "light: bright",
    ]  # fmt: skip
    assert found.worse_parts == ()  # twelve are fixed in the same slice
    old[12:24] = True
    found = paired_test(old, new, every % 2, every, np.zeros(600), slices={"light": light})
    assert "light: dark (0 fixed, 12 broken of 60)" in found.sentence


@pytest.mark.parametrize(("num_classes", "num_slices"), [(2, 0), (2, 6), (20, 10)])
@pytest.mark.parametrize("per_group", [1, 3])
def test_false_alarms_over_classes_and_slices_are_as_rare_as_claimed(
    num_classes: int, num_slices: int, per_group: int
) -> None:
    """Equal models: a picture, or a whole group of pictures, is fixed as often as broken."""
    random = np.random.default_rng(num_classes + num_slices)
    repeats, alarms = 150, 0
    groups = np.arange(600) // per_group
    for _ in range(repeats):
        outcome = random.choice([1, -1, 0], p=[0.06, 0.06, 0.88], size=600)[groups]
        classes = random.integers(num_classes, size=600)[groups]
        names = [str(number) for number in random.integers(max(num_slices, 1), size=600)[groups]]
        found = paired_test(
            outcome < 1,
            outcome > -1,
            classes,
            groups,
            random.normal(size=600)[groups],
            slices={"light": names} if num_slices else None,
        )
        alarms += bool(found.worse_parts)
    error = (MAX_FALSE_ALARMS * (1 - MAX_FALSE_ALARMS) / repeats) ** 0.5
    assert alarms / repeats <= MAX_FALSE_ALARMS + 2 * error


def test_names_serve_as_classes_and_groups() -> None:
    old, new = answers(60, 3, 5)
    numbers = np.arange(60)
    by_number = paired_test(old, new, numbers % 2, numbers // 2, np.zeros(60))
    by_name = paired_test(
        old.tolist(),
        new.tolist(),
        ["cat" if number % 2 else "dog" for number in numbers],
        [f"group {number // 2}" for number in numbers],
        [0.0] * 60,
    )
    assert replace(by_name, parts=()) == replace(by_number, parts=())
    assert [part.name for part in by_name.parts] == ["class dog", "class cat"]


@pytest.mark.parametrize("per_group", [1, 2, 5, 40])
def test_group_correlation_is_that_of_the_intervals(per_group: int) -> None:
    random = np.random.default_rng(0)
    groups = np.arange(600) // per_group
    shared = random.random(600)[groups]
    correct = np.where(random.random(600) < 0.5, shared, random.random(600)) < 0.9
    assert group_correlation(correct, groups) == pytest.approx(
        Design.of(correct, groups).correlation
    )


def test_importing_it_loads_no_library() -> None:
    code = "import sys, models.paired; print({'numpy', 'scipy', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert done.stdout == "set()\n"
