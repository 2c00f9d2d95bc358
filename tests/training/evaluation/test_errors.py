"""Misclassified pictures: order, activation maps and similar training pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.imaging.decode import decode_image
from tests.images import DrawData
from tests.training.evaluation.test_study import CONFIG, feature_set_of, people
from tests.training.tiny_backbone import tiny_backbone
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.source import open_source
from training.evaluation import errors
from training.evaluation.errors import explain_errors
from training.evaluation.study import Study, study
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet, read_feature_set


@pytest.fixture(scope="module")
def shapes(
    tmp_path_factory: pytest.TempPathFactory, draw_data: DrawData
) -> tuple[FeatureSet, Study, Extractor]:
    """Return shapes that a random backbone of six features often confuses."""
    folder = tmp_path_factory.mktemp("shapes")
    data = draw_data(folder / "data", {"bar": 20, "cone": 20, "disc": 20})
    extractor = Extractor(tiny_backbone())
    with Cache(folder / "cache") as cache:
        pictures = read_feature_set(scan(open_source(data)), extractor, cache, CONFIG)
    return pictures, study(pictures, CONFIG), extractor


def test_explain_errors_returns_every_misclassified_picture_most_confident_first(
    shapes: tuple[FeatureSet, Study, Extractor],
) -> None:
    pictures, found, extractor = shapes
    cases = explain_errors(pictures, found, extractor)
    wrong = np.flatnonzero(found.probabilities.argmax(axis=1) != pictures.classes)
    assert len(wrong) > 10  # more than one batch
    assert sorted(case.index for case in cases) == wrong.tolist()
    sure = [float(found.probabilities[case.index].max()) for case in cases]
    assert sure == sorted(sure, reverse=True)
    assert len(cases) == found.metrics["pictures"] - np.trace(found.metrics["confusion"])


def test_activation_map_mean_equals_the_logit_of_the_fold_head(
    shapes: tuple[FeatureSet, Study, Extractor],
) -> None:
    pictures, found, extractor = shapes
    for case in explain_errors(pictures, found, extractor):
        head = found.fold_heads[found.folds[case.index]]
        predicted = int(found.probabilities[case.index].argmax())
        assert predicted != pictures.classes[case.index]
        assert case.activation.shape == (8, 8)
        assert case.activation.dtype == np.float32
        logits = head.logits(pictures.features[case.index][None])[0]
        assert float(case.activation.mean() + head.bias[predicted]) == pytest.approx(
            logits[predicted], abs=1e-3
        )
        pixels = decode_image(pictures.read(case.index), size=32)
        feature_map = extractor.feature_map(torch.stack([pixels]))[0].numpy()
        # Rows 0-2, 2-5 and 5-7 of 8 are the bands; a row counts in each that it is in.
        counts = np.array(
            [[8 / 3] * 3 + [0] * 5, [0] * 2 + [2] * 4 + [0] * 2, [0] * 5 + [8 / 3] * 3]
        )
        weight = head.weight[predicted].reshape(len(feature_map), 3) @ counts  # (D, h)
        by_hand = (weight[:, :, None] * feature_map).sum(axis=0)
        np.testing.assert_allclose(case.activation, by_hand, atol=1e-4)


def test_neighbours_are_the_most_similar_training_pictures(
    shapes: tuple[FeatureSet, Study, Extractor],
) -> None:
    pictures, found, extractor = shapes
    features = pictures.features.astype(np.float64)
    for case in explain_errors(pictures, found, extractor):
        own = features[case.index]
        similar = sorted(
            (
                (
                    float(other @ own / np.linalg.norm(other) / np.linalg.norm(own)),
                    index,
                )
                for index, other in enumerate(features)
                if found.folds[index] != found.folds[case.index]
            ),
            reverse=True,
        )
        assert len(case.neighbours) == 4
        assert [similarity for _, similarity in case.neighbours] == pytest.approx(
            [similarity for similarity, _ in similar[:4]], abs=1e-5
        )
        for index, similarity in case.neighbours:
            assert found.folds[index] != found.folds[case.index]
            assert {p: s for s, p in similar}[index] == pytest.approx(similarity, abs=1e-5)


def test_explain_errors_has_a_maximum(
    shapes: tuple[FeatureSet, Study, Extractor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, found, extractor = shapes
    every = explain_errors(pictures, found, extractor)
    monkeypatch.setattr(errors, "_MAX_EXPLAINED", 8)
    some = explain_errors(pictures, found, extractor)
    assert [case.index for case in some] == [case.index for case in every[:8]]


def test_explain_errors_is_empty_without_errors(tmp_path: Path) -> None:
    data = people(30, 1, 6, of_class=20.0, of_person=0.0)
    pictures = feature_set_of(*data, tmp_path)
    assert explain_errors(pictures, study(pictures, CONFIG), Extractor(tiny_backbone())) == []
