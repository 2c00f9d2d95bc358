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

CONFIG = FitConfig()


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
    all_distances = [
        np.sort([1 - f @ r / np.linalg.norm(f) / np.linalg.norm(r) for r in detector.references])
        for f in features.astype(np.float64)
    ]
    return np.array(all_distances)[:, detector.facts.neighbours - 1]


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
