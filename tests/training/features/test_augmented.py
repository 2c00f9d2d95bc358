"""Changed copies: the same for the same picture, learnt from and never judged."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.imaging.decode import decode_image
from tests.images import DrawData
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.source import open_source
from training.evaluation import cross_validation
from training.evaluation.cross_validation import cross_validate
from training.evaluation.head import fit_head, fit_on_views
from training.features.augment import Augmentation, augmenter
from training.features.augmented import VIEWS, view, view_features
from training.features.extract import Extractor
from training.features.feature_set import Pictures, read_pictures

CONFIG = FitConfig(folds=3, inner_folds=2, penalties=(0.1, 1.0))


@pytest.fixture
def pictures(draw_data: DrawData, tmp_path: Path) -> Pictures:
    listing = scan(open_source(draw_data(tmp_path / "data", {"bar": 11, "disc": 11})))
    with Cache(tmp_path / "first") as cache:
        return read_pictures(
            listing,
            Extractor(tiny_backbone()),
            cache,
            CONFIG,
            strict=False,
            say=lambda line: None,
            progress=lambda done, total: None,
        )


def features_of(pictures: Pictures, folder: Path, changes: Augmentation = VIEWS) -> np.ndarray:
    with Cache(folder) as cache:
        return np.array(
            view_features(pictures, Extractor(tiny_backbone()), cache, 2, changes=changes)
        )


def test_each_view_is_the_augmented_picture_through_the_extractor(
    pictures: Pictures, tmp_path: Path
) -> None:
    found = features_of(pictures, tmp_path / "cache")
    assert found.shape == (len(pictures.names), 2, TINY_POOLED)
    assert found.dtype == np.float32
    augment = augmenter(VIEWS)
    for place in (0, 9, 21):
        pixels = decode_image(pictures.data(place), size=32)
        digest = pictures.extracted.facts[place].sha256
        views = torch.stack([view(pixels, digest, number, augment) for number in range(2)])
        wanted = Extractor(tiny_backbone())(views).numpy()
        np.testing.assert_allclose(found[place], wanted, atol=1e-5)
    assert not np.array_equal(found[:, 0], found[:, 1])


def test_the_cache_gives_the_same_and_other_changes_are_others(
    pictures: Pictures, tmp_path: Path
) -> None:
    first = features_of(pictures, tmp_path / "cache")
    assert features_of(pictures, tmp_path / "cache").tobytes() == first.tobytes()
    assert features_of(pictures, tmp_path / "other").tobytes() == first.tobytes()
    grey = features_of(pictures, tmp_path / "cache", dataclasses.replace(VIEWS, grey=1.0))
    assert not np.array_equal(grey, first)


def test_a_picture_and_its_copies_weigh_as_much_as_it_alone() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 5)).astype(np.float32)
    classes = (features[:, 0] + random.normal(size=30) > 0).astype(np.int64)
    same = np.repeat(features[:, None], 3, axis=1)
    with_copies = fit_on_views(features, same, classes, count=2, penalty=0.3)
    alone = fit_head(features, classes, count=2, penalty=0.3)
    np.testing.assert_allclose(with_copies.weight, alone.weight, atol=1e-3)
    assert with_copies.penalty == 0.3
    assert np.array_equal(
        fit_on_views(features, None, classes, count=2, penalty=0.3).weight, alone.weight
    )


def test_no_picture_is_judged_by_a_head_that_learnt_its_views(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = np.arange(40, dtype=np.float32)
    features = np.stack([places, np.zeros(40)], axis=1).astype(np.float32)
    views = np.repeat(features[:, None], 2, axis=1) + np.array([0, 1], np.float32)
    classes = np.arange(40) % 2
    learnt: list[set[int]] = []
    real = fit_on_views

    def fit(features, views, classes, **options):  # type: ignore[no-untyped-def]
        learnt.append(set(features[:, 0].astype(int)) | set(views[:, :, 0].ravel().astype(int)))
        assert (views[:, :, 1] == 1).all()
        return real(features, views, classes, **options)

    monkeypatch.setattr(cross_validation, "fit_on_views", fit)
    judged = cross_validate(features, classes, np.arange(40), count=2, config=CONFIG, views=views)
    assert len(learnt) == 3
    for place, fold in enumerate(judged.folds):
        assert place not in learnt[fold]
