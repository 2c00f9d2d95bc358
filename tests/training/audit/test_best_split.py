"""The best split of classes, and its permutation test."""

import numpy as np
import pytest

from training.audit import best_split
from training.audit.best_split import find_best_split, permutation_p_value, to_bins


def test_to_bins_keeps_words_and_few_numbers_apart() -> None:
    bins = to_bins([["a", "b", "a"], [3, 1, 2]])
    assert bins.numbers.tolist() == [[0, 4], [1, 2], [0, 3]]
    assert np.array_equal(bins.kernel, np.eye(5))


def test_to_bins_smooths_numbers_over_neighbours_of_their_statistic() -> None:
    bins = to_bins([["a", "b"] * 50, list(range(100))])
    assert len(bins.kernel) == 2 + 16
    assert np.allclose(bins.kernel.sum(axis=1), 1)
    assert np.all(bins.kernel[:2, 2:] == 0)
    assert bins.kernel[9, 10] > bins.kernel[9, 12] > 0


def test_find_best_split_sees_a_class_between_the_others() -> None:
    classes = np.arange(120) % 2
    value = np.random.default_rng(0).uniform(0, 1, 120)
    value = np.where(
        classes == 0, 0.4 + 0.2 * value, np.where(value < 0.5, value / 2, (1 + value) / 2)
    )
    bins = to_bins([value.tolist()])
    split = find_best_split(bins, classes, min_pictures=10, seed=0)
    assert split is not None
    assert (split.inside, split.counts) == ((0,), (60, 60))
    assert split.balanced_accuracy > 0.9


def test_find_best_split_sees_numbers_that_are_unusual_only_together() -> None:
    random, classes = np.random.default_rng(0), np.arange(160) % 2
    size = random.normal(size=160)
    detail = size + 0.5 * classes + random.normal(0, 0.1, 160)
    split = find_best_split(
        to_bins([size.tolist(), detail.tolist()]), classes, min_pictures=10, seed=0
    )
    assert split is not None
    assert split.balanced_accuracy > 0.85


def test_find_best_split_needs_pictures_on_both_sides() -> None:
    classes = np.array([0] * 50 + [1] * 9)
    bins = to_bins([classes.tolist()])
    assert find_best_split(bins, classes, min_pictures=10, seed=0) is None
    assert find_best_split(bins, classes, min_pictures=9, seed=0) is not None


def test_permutation_p_values_of_noise_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_split, "_PERMUTATIONS", 39)
    p_values = []
    for seed in range(60):
        random = np.random.default_rng(1000 + seed)
        classes = np.arange(60) % 3
        bins = to_bins(random.normal(size=(2, 60)).tolist())
        split = find_best_split(bins, classes, min_pictures=10, seed=seed)
        assert split is not None
        p_values.append(permutation_p_value(split, bins, classes, min_pictures=10, seed=seed))
    assert np.mean(np.array(p_values) <= 0.1) <= 0.2
    assert 0.4 < np.mean(p_values) < 0.65
