"""Shortcuts: statistics that predict classes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.audit.data_sets import PLAIN, make_stats
from training.audit.shortcuts import find_shortcuts, find_word_shortcuts
from training.data.image_stats import ImageStats


def cameras(
    classes: NDArray[np.int64], second: NDArray[np.bool_], seed: int = 0
) -> list[ImageStats]:
    """Return statistics of two cameras, of which the second one's pictures are brighter."""
    brightness = np.random.default_rng(seed).normal(0.4 + 0.2 * second, 0.05)
    return [make_stats(n, brightness=float(value)) for n, value in enumerate(brightness)]


@pytest.mark.parametrize(("num_classes", "per_class"), [(4, 40), (6, 20), (30, 12)])
def test_camera_of_half_the_classes_is_found(num_classes: int, per_class: int) -> None:
    classes = np.repeat(np.arange(num_classes), per_class)
    stats = cameras(classes, classes % 2 == 1)
    found = find_shortcuts(stats, classes, np.arange(len(classes)))
    (light,) = (shortcut for shortcut in found if shortcut.is_warning)
    assert light.family == "light"
    assert light.inside == tuple(range(0, num_classes, 2))
    assert light.balanced_accuracy > 0.9
    assert light.p_value == 0.005


def test_find_shortcuts_needs_independent_pictures() -> None:
    stats = [make_stats(n, format=("PNG", "JPEG")[n % 2]) for n in range(60)]
    classes = np.arange(60) % 2
    assert find_shortcuts(stats[:30], classes[:30], np.arange(30)) == []
    assert find_shortcuts(stats, classes, classes) == []  # one group per class
    unequal = np.where(np.arange(60) < 9, 0, 1)
    assert find_shortcuts(stats, unequal, np.arange(60)) == []
    assert find_shortcuts(stats, classes, np.arange(60))[1].is_warning


def test_find_shortcuts_counts_a_group_once() -> None:
    random, classes = np.random.default_rng(0), np.repeat(np.arange(60) % 2, 6)
    groups = np.repeat(np.arange(60), 6)
    brightness = np.repeat(random.uniform(0.3, 0.7, 60), 6)
    stats = [
        make_stats(int(g), brightness=float(b)) for g, b in zip(groups, brightness, strict=True)
    ]
    assert not any(shortcut.is_warning for shortcut in find_shortcuts(stats, classes, groups))


def test_find_shortcuts_is_repeatable() -> None:
    classes = np.repeat(np.arange(3), 30)
    stats = cameras(classes, classes == 1)
    first, second = (find_shortcuts(stats, classes, np.arange(90), seed=7) for _ in range(2))
    assert first == second


def test_find_shortcuts_seldom_warns_of_random_statistics() -> None:
    alarms = 0
    for seed in range(40):
        classes = np.random.default_rng(seed).permutation(np.arange(60) % 2)
        found = find_shortcuts(
            cameras(classes, classes < 0, seed), classes, np.arange(60), seed=seed
        )
        alarms += any(shortcut.is_warning for shortcut in found)
    assert alarms <= 1


def test_find_shortcuts_samples_large_data_sets() -> None:
    classes = np.arange(6000) % 2
    stats = [PLAIN] * 6000
    found = find_shortcuts(stats, classes, np.arange(6000))
    assert [shortcut.balanced_accuracy for shortcut in found] == [0.5] * 5


def test_random_formats_are_no_shortcut() -> None:
    random, alarms = np.random.default_rng(0), 0
    for _ in range(40):
        formats = random.choice(["PNG", "JPEG", "WEBP"], size=60)
        stats = [make_stats(n, format=str(name)) for n, name in enumerate(formats)]
        alarms += bool(find_word_shortcuts(stats, np.arange(60) % 2, np.arange(60)))
    assert alarms <= 1
