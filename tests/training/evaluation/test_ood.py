"""Out-of-distribution detector: distances, threshold and references, also in the exported graph."""

import dataclasses

import numpy as np
import pytest
import torch

from models.bundle.load import answer, load_graph
from tests.training.publish.test_export import head_of, pictures
from tests.training.tiny_backbone import TINY_POOLED, TINY_WIDTH, tiny_backbone
from training.config import FitConfig
from training.evaluation.ood import OodDetector, fit_ood_detector
from training.features.extract import Extractor
from training.publish.export import Classifier, export

CONFIG = dataclasses.replace(FitConfig(), familiarity_alarms=0.05)


def cone(num_pictures: int, seed: int, middle: float = 4.0) -> np.ndarray:
    """Draw features around one direction."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(num_pictures, 12)) + middle).astype(np.float32)


def fitted(num_pictures: int = 400, config: FitConfig = CONFIG) -> OodDetector:
    return fit_ood_detector(
        cone(num_pictures, 0),
        np.arange(num_pictures) * 2 // num_pictures,
        np.arange(num_pictures),
        config,
    )


def distances(features: np.ndarray, detector: OodDetector) -> np.ndarray:
    """Return distances by their definition."""
    unit = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    all_distances = (1 - unit @ detector.references.T) * detector.scales
    return np.sort(all_distances, axis=1)[:, detector.facts.neighbours - 1]


def test_about_the_configured_share_of_new_pictures_is_beyond_the_threshold() -> None:
    detector = fitted()
    far = distances(cone(500, 1), detector) > detector.facts.threshold
    assert 0.02 <= far.mean() <= 0.08
    assert detector.facts.false_alarms == 0.05


def test_features_in_other_directions_are_beyond_the_threshold() -> None:
    detector = fitted()
    assert (distances(cone(50, 2, middle=-4.0), detector) > detector.facts.threshold).all()
    assert (distances(cone(50, 2, middle=0.0), detector) > detector.facts.threshold).all()


def test_distances_ignore_pictures_of_the_same_group() -> None:
    one = cone(60, 3)
    classes = np.arange(120) // 2 % 2
    twice = np.repeat(one, 2, axis=0)
    config = dataclasses.replace(CONFIG, familiarity_neighbours=1)
    grouped = fit_ood_detector(twice, classes, np.arange(120) // 2, config)
    assert grouped.distances.min() > 0.001
    ungrouped = fit_ood_detector(twice, classes, np.arange(120), config)
    assert np.median(ungrouped.distances) == pytest.approx(0, abs=1e-6)


def test_references_have_unit_length_and_a_maximum_number() -> None:
    config = dataclasses.replace(CONFIG, familiarity_references=10)
    detector = fitted(config=config)
    assert detector.references.shape == (10, 12)
    np.testing.assert_allclose(np.linalg.norm(detector.references, axis=1), 1, atol=1e-6)
    assert detector.facts.references == 10
    assert detector.facts.neighbours == 5


def uneven(sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw features of classes around directions of their own, and their classes."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(len(sizes), 16)) + 2
    spreads = np.linspace(1.5, 0.4, 16)
    classes = np.repeat(np.arange(len(sizes)), sizes)
    noise = random.normal(size=(len(classes), 16)) * spreads
    return (middles[classes] + noise).astype(np.float32), classes


@pytest.mark.parametrize("sizes", [(400, 20), (300, 60), (180, 180), (60, 60, 60)])
def test_every_class_has_the_configured_share_beyond_the_threshold(sizes: tuple[int, ...]) -> None:
    shares = []
    for seed in range(8):
        features, classes = uneven(sizes, seed)
        detector = fit_ood_detector(features, classes, np.arange(len(classes)), CONFIG)
        assert (detector.unfamiliar <= 0.07).all()
        new, of = uneven((200,) * len(sizes), 1000 + seed)
        far = distances(new, detector) > detector.facts.threshold
        shares.append([far[of == k].mean() for k in range(len(sizes))])
    np.testing.assert_allclose(np.mean(shares, axis=0), 0.05, atol=0.02)


def test_references_are_equally_many_per_class() -> None:
    features, classes = uneven((40, 8, 200), 0)
    config = dataclasses.replace(CONFIG, familiarity_references=60)
    detector = fit_ood_detector(features, classes, np.arange(248), config)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    of = classes[[int(np.argmax(unit @ reference)) for reference in detector.references]]
    assert np.bincount(of).tolist() == [26, 8, 26]


def test_facts_give_the_level_that_small_classes_have() -> None:
    features, classes = uneven((9, 9), 0)
    detector = fit_ood_detector(features, classes, np.arange(18), CONFIG)
    assert detector.facts.false_alarms == pytest.approx(0.1)
    strict = dataclasses.replace(CONFIG, familiarity_alarms=0.01)
    features, classes = uneven((120, 59), 0)
    detector = fit_ood_detector(features, classes, np.arange(179), strict)
    assert detector.facts.false_alarms == pytest.approx((120 * 0.01 + 59 / 60) / 179)


def with_copies(num_pictures: int, seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw features around one direction, and two copies of each that differ by some spread."""
    features = cone(num_pictures, seed)
    noise = np.random.default_rng(seed + 1).normal(size=(num_pictures, 2, 12)) * spread
    return features, (features[:, None] + noise).astype(np.float32)


def test_half_of_the_references_are_copies() -> None:
    features, copies = with_copies(60, 0, 1.0)
    config = dataclasses.replace(CONFIG, familiarity_references=20)
    classes, groups = np.arange(60) // 30, np.arange(60)
    detector = fit_ood_detector(features, classes, groups, config, copies)
    assert detector.facts.references == len(detector.scales) == 20
    all_units = np.concatenate([features, copies[:, 0], copies[:, 1]])
    all_units /= np.linalg.norm(all_units, axis=1, keepdims=True)
    of = [int(np.argmax(all_units @ reference)) for reference in detector.references]
    assert [index // 60 for index in of[:10]] == [0] * 10
    assert [index // 60 for index in of[10:]] == [1, 2] * 5
    assert [index % 60 for index in of[10:]] == of[:10]
    assert detector.distances.shape == (60,)


def test_copies_make_pictures_that_differ_like_them_familiar() -> None:
    features, copies = with_copies(300, 0, 2.0)
    classes, groups = np.arange(300) // 150, np.arange(300)
    plain = fit_ood_detector(features, classes, groups, CONFIG)
    both = fit_ood_detector(features, classes, groups, CONFIG, copies)
    new, changed = with_copies(300, 7, 2.0)
    for detector, share in ((plain, 0.2), (both, 0.0)):
        assert (distances(changed[:, 0], detector) > detector.facts.threshold).mean() > share
    far = [distances(group, both) > both.facts.threshold for group in (new, changed[:, 0])]
    assert np.mean(far) == pytest.approx(0.05, abs=0.025)
    assert (distances(cone(50, 2, middle=-4.0), both) > both.facts.threshold).all()


def test_copies_are_not_compared_with_their_own_picture() -> None:
    features, copies = with_copies(60, 0, 0.0)
    config = dataclasses.replace(CONFIG, familiarity_neighbours=1)
    classes, groups = np.arange(60) // 30, np.arange(60)
    detector = fit_ood_detector(features, classes, groups, config, copies)
    assert detector.distances.min() > 0.001
    plain = fit_ood_detector(features, classes, groups, config)
    assert plain.facts.threshold <= detector.facts.threshold < 1.1 * plain.facts.threshold


def test_equal_pictures_have_finite_distances() -> None:
    features = np.concatenate([np.ones((12, 4)), np.ones((12, 4)) * [1, 1, 1, 5]])
    detector = fit_ood_detector(
        features.astype(np.float32), np.arange(24) // 12, np.arange(24), CONFIG
    )
    assert np.isfinite(detector.scales).all()
    assert (detector.unfamiliar == 0).all()
    one_group = np.where(np.arange(24) < 12, 0, np.arange(24))
    burst = fit_ood_detector(features.astype(np.float32), np.arange(24) // 12, one_group, CONFIG)
    assert np.isfinite(burst.distances).all()


def test_exported_graph_returns_the_distance() -> None:
    extractor = Extractor(tiny_backbone())
    features = extractor(pictures(40, 32)).numpy()
    assert features.shape == (40, TINY_POOLED)
    detector = fit_ood_detector(features, np.arange(40) // 20, np.arange(40), CONFIG)
    classifier = Classifier(tiny_backbone(), head_of(TINY_POOLED, 2), ood_detector=detector)
    found = answer(load_graph(export(classifier, input_px=32)), pictures(7, 32))
    assert found.distance is not None
    assert found.distance.shape == (7,)
    wanted = distances(extractor(pictures(7, 32)).numpy(), detector)
    np.testing.assert_allclose(found.distance.numpy(), wanted, atol=1e-5)


def test_exported_graph_without_references_returns_no_distance() -> None:
    classifier = Classifier(tiny_backbone(), head_of(TINY_WIDTH * 3, 2))
    found = answer(load_graph(export(classifier, input_px=32)), pictures(2, 32))
    assert found.distance is None
    assert isinstance(found.probabilities, torch.Tensor)
