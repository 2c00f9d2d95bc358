"""Coverage check: a short, seeded run, and the simulated worlds themselves."""

import dataclasses

import numpy as np
import pytest

from checks.coverage.__main__ import line, missed, worlds
from checks.coverage.run import coverage_of
from checks.coverage.worlds import World, draw_folds, fit
from training.evaluation.head import fit_head


@pytest.mark.parametrize(
    ("world", "replications"),
    [
        (World((30, 30), 0.95), 30),
        (World((60, 60), 0.95, 0.95), 30),
        (World((12,) * 30, 0.99), 200),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_short_run_meets_the_goals(world: World, replications: int) -> None:
    row = coverage_of(world, replications)
    assert missed(row, replications) == []
    assert line(row).startswith(f"| {world.name} | ")


def test_missed_names_a_figure_that_covers_too_little() -> None:
    row = dataclasses.replace(coverage_of(World((12,) * 10, 0.95), 20), accuracy=0.5)
    assert missed(row, 20) == ["10 x 12, 95 %: accuracy covers 50.0%, not 93%"]
    forecast = dataclasses.replace(row, accuracy=1.0, forecast=0.5, forecast_made=0.9)
    assert missed(forecast, 20) == ["10 x 12, 95 %: forecast covers 50.0%, not 90%"]
    worse = dataclasses.replace(row, accuracy=1.0, ece=(1.0, 1.5))
    assert missed(worse, 20) == ["10 x 12, 95 %: the temperature worsens the calibration error"]
    false = dataclasses.replace(row, accuracy=1.0, false=(0.0, 0.4))
    assert missed(false, 20) == ["10 x 12, 95 %: says “keeps” falsely in 40.0% of runs"]


def test_worlds_have_names_of_their_own() -> None:
    names = [world.name for world in worlds()]
    assert len(set(names)) == len(names) > 30


@pytest.mark.parametrize("num_classes", [2, 5])
def test_best_head_of_a_world_has_its_accuracy(num_classes: int) -> None:
    world = World((2000 // num_classes,) * num_classes, 0.9)
    features, classes, _ = world.draw(np.random.default_rng(0))
    fresh, true = world.fresh
    right = fit(features, classes, num_classes).logits(fresh)[0].argmax(axis=1) == true
    assert right.mean() == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_fast_head_is_the_job_s_head(num_classes: int) -> None:
    world = World((40,) * num_classes, 0.9)
    features, classes, _ = world.draw(np.random.default_rng(0))
    rows = features.astype(np.float32)
    wanted = fit_head(rows, classes, penalty=0.03).logits(rows)
    found = fit(features, classes, num_classes).logits(features)[0]
    shift = (wanted - found).mean(axis=1, keepdims=True)  # softmax is invariant to it
    np.testing.assert_allclose(found + shift, wanted, atol=0.05)


def test_folds_divide_no_group() -> None:
    random = np.random.default_rng(0)
    _, classes, groups = World((60, 60), 0.9, 0.5).draw(random)
    fold_of = draw_folds(classes, groups, random)
    for group in np.unique(groups):
        assert len(np.unique(fold_of[groups == group])) == 1
        assert len(np.unique(classes[groups == group])) == 1
    assert min(np.bincount(fold_of)) > 10
