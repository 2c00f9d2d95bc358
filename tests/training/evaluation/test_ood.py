"""Distances from the training pictures, and the threshold that a stated share of them exceeds."""

import dataclasses

import numpy as np
import pytest
import torch

from models.bundle.load import answer, load_graph
from tests.training.publish.test_export import head_of, pictures
from tests.training.tiny_backbone import TINY_POOLED, TINY_WIDTH, tiny_backbone
from training.config import FitConfig
from training.evaluation.ood import Familiarity, know
from training.features.extract import Extractor
from training.publish.export import Classifier, export

CONFIG = FitConfig()


def cone(count: int, seed: int, middle: float = 4.0) -> np.ndarray:
    """Features around one direction."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, 12)) + middle).astype(np.float32)


def known(count: int = 400, config: FitConfig = CONFIG) -> Familiarity:
    return know(cone(count, 0), np.arange(count) * 2 // count, np.arange(count), config)


def distances(features: np.ndarray, familiarity: Familiarity) -> np.ndarray:
    """The definition, by hand."""
    away = [
        np.sort([1 - f @ r / np.linalg.norm(f) / np.linalg.norm(r) for r in familiarity.references])
        for f in features.astype(np.float64)
    ]
    return np.array(away)[:, familiarity.facts.neighbours - 1]


def test_about_the_stated_share_of_new_pictures_is_called_unfamiliar() -> None:
    familiarity = known()
    far = distances(cone(500, 1), familiarity) > familiarity.facts.threshold
    assert 0.02 <= far.mean() <= 0.08
    assert familiarity.facts.false_alarms == 0.05


def test_what_lies_elsewhere_is_unfamiliar() -> None:
    familiarity = known()
    assert (distances(cone(50, 2, middle=-4.0), familiarity) > familiarity.facts.threshold).all()
    assert (distances(cone(50, 2, middle=0.0), familiarity) > familiarity.facts.threshold).all()


def test_a_copy_makes_no_picture_familiar() -> None:
    one = cone(60, 3)
    classes = np.arange(120) // 2 % 2
    twice = np.repeat(one, 2, axis=0)
    config = dataclasses.replace(CONFIG, familiarity_neighbours=1)
    apart = know(twice, classes, np.arange(120) // 2, config)
    assert apart.distances.min() > 0.001
    blind = know(twice, classes, np.arange(120), config)
    assert np.median(blind.distances) == pytest.approx(0, abs=1e-6)


def test_references_are_few_and_of_every_class() -> None:
    config = dataclasses.replace(CONFIG, familiarity_references=10)
    familiarity = known(config=config)
    assert familiarity.references.shape == (10, 12)
    np.testing.assert_allclose(np.linalg.norm(familiarity.references, axis=1), 1, atol=1e-6)
    assert familiarity.facts.references == 10
    assert familiarity.facts.neighbours == 5


def test_the_graph_measures_the_distance() -> None:
    extractor = Extractor(tiny_backbone())
    features = extractor(pictures(40, 32)).numpy()
    assert features.shape == (40, TINY_POOLED)
    familiarity = know(features, np.arange(40) // 20, np.arange(40), CONFIG)
    classifier = Classifier(tiny_backbone(), head_of(TINY_POOLED, 2), familiarity=familiarity)
    found = answer(load_graph(export(classifier, input_px=32)), pictures(7, 32))
    assert found.distance is not None
    assert found.distance.shape == (7,)
    wanted = distances(extractor(pictures(7, 32)).numpy(), familiarity)
    np.testing.assert_allclose(found.distance.numpy(), wanted, atol=1e-5)


def test_without_references_the_graph_is_silent() -> None:
    classifier = Classifier(tiny_backbone(), head_of(TINY_WIDTH * 3, 2))
    found = answer(load_graph(export(classifier, input_px=32)), pictures(2, 32))
    assert found.distance is None
    assert isinstance(found.probabilities, torch.Tensor)
