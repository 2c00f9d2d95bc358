"""Augmented copies: reproducible, learnt from, never evaluated."""

import dataclasses
import sqlite3
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
from training.errors import ChangedData
from training.evaluation import cross_validation
from training.evaluation.cross_validation import cross_validate
from training.evaluation.head import fit_head, fit_with_copies
from training.features.augment import Augmentation, make_augment
from training.features.augmented import COPY_AUGMENTATION, augmented_copy, extract_augmented
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet, read_feature_set

CONFIG = FitConfig(folds=3, inner_folds=2, penalties=(0.1, 1.0))


@pytest.fixture
def pictures(draw_data: DrawData, tmp_path: Path) -> FeatureSet:
    listing = scan(open_source(draw_data(tmp_path / "data", {"bar": 11, "disc": 11})))
    with Cache(tmp_path / "first") as cache:
        return read_feature_set(listing, Extractor(tiny_backbone()), cache, CONFIG)


def rows_of(cache: Cache) -> sqlite3.Connection:
    assert cache._database is not None
    return cache._database


def features_of(
    pictures: FeatureSet, folder: Path, augmentation: Augmentation = COPY_AUGMENTATION
) -> np.ndarray:
    with Cache(folder) as cache:
        return np.array(
            extract_augmented(
                pictures, Extractor(tiny_backbone()), cache, 2, augmentation=augmentation
            )
        )


def test_extract_augmented_equals_extractor_on_copies(pictures: FeatureSet, tmp_path: Path) -> None:
    found = features_of(pictures, tmp_path / "cache")
    assert found.shape == (len(pictures.names), 2, TINY_POOLED)
    assert found.dtype == np.float32
    augment = make_augment(COPY_AUGMENTATION)
    for index in (0, 9, 21):
        pixels = decode_image(pictures.read(index), size=32)
        digest = pictures.stats[index].sha256
        copies = torch.stack(
            [augmented_copy(pixels, digest, number, augment) for number in range(2)]
        )
        wanted = Extractor(tiny_backbone())(copies).numpy()
        np.testing.assert_allclose(found[index], wanted, atol=1e-5)
    assert not np.array_equal(found[:, 0], found[:, 1])


def test_extract_augmented_is_cached_per_augmentation(pictures: FeatureSet, tmp_path: Path) -> None:
    first = features_of(pictures, tmp_path / "cache")
    assert features_of(pictures, tmp_path / "cache").tobytes() == first.tobytes()
    assert features_of(pictures, tmp_path / "other").tobytes() == first.tobytes()
    grey = features_of(
        pictures, tmp_path / "cache", dataclasses.replace(COPY_AUGMENTATION, grey=1.0)
    )
    assert not np.array_equal(grey, first)


def test_fit_with_equal_copies_equals_fit_without() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 5)).astype(np.float32)
    classes = (features[:, 0] + random.normal(size=30) > 0).astype(np.int64)
    same = np.repeat(features[:, None], 3, axis=1)
    with_copies = fit_with_copies(features, same, classes, penalty=0.3)
    alone = fit_head(features, classes, penalty=0.3)
    np.testing.assert_allclose(with_copies.weight, alone.weight, atol=1e-3)
    assert with_copies.penalty == 0.3
    assert np.array_equal(
        fit_with_copies(features, None, classes, penalty=0.3).weight, alone.weight
    )


def test_cross_validate_never_fits_on_copies_of_test_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    positions = np.arange(40, dtype=np.float32)
    features = np.stack([positions, np.zeros(40)], axis=1).astype(np.float32)
    views = np.repeat(features[:, None], 2, axis=1) + np.array([0, 1], np.float32)
    classes = np.arange(40) % 2
    learnt: list[set[int]] = []
    real = fit_with_copies

    def fit(features, views, classes, **options):  # type: ignore[no-untyped-def]
        learnt.append(set(features[:, 0].astype(int)) | set(views[:, :, 0].ravel().astype(int)))
        assert (views[:, :, 1] == 1).all()
        return real(features, views, classes, **options)

    monkeypatch.setattr(cross_validation, "fit_with_copies", fit)
    judged = cross_validate(features, classes, np.arange(40), config=CONFIG, copies=views)
    assert len(learnt) == 3
    for index, fold in enumerate(judged.folds):
        assert index not in learnt[fold]


# --- pictures that change while the run uses them ---------------------------------------------


def exchange(pictures: FeatureSet) -> None:
    """Exchange the contents of the two class folders."""
    root = pictures.listing.source.path
    (root / "bar").rename(root / "aside")
    (root / "disc").rename(root / "bar")
    (root / "aside").rename(root / "disc")


def test_exchanged_pictures_end_the_run_and_leave_the_cache_true(
    pictures: FeatureSet, tmp_path: Path
) -> None:
    clean = features_of(pictures, tmp_path / "clean")
    exchange(pictures)
    with pytest.raises(ChangedData, match=r"(bar|disc)/\d+\.jpg has changed"):
        features_of(pictures, tmp_path / "cache")
    exchange(pictures)
    assert features_of(pictures, tmp_path / "cache").tobytes() == clean.tobytes()


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_missing_picture_ends_the_run_with_its_name(
    pictures: FeatureSet, tmp_path: Path, how: str
) -> None:
    path = pictures.listing.source.path / "disc" / "004.jpg"
    path.unlink()
    if how == "emptied":
        path.write_bytes(b"")
    with pytest.raises(ChangedData, match=r"^disc/004\.jpg "):
        features_of(pictures, tmp_path / "cache")


def test_rows_of_0_1_are_not_read(pictures: FeatureSet, tmp_path: Path) -> None:
    """Their pictures may have been others."""
    clean = features_of(pictures, tmp_path / "cache")
    with Cache(tmp_path / "cache") as cache:
        rows = rows_of(cache).execute("SELECT key, value FROM entries").fetchall()
        old = [(key.replace("copies:", "views:"), bytes(len(value))) for key, value in rows]
    with Cache(tmp_path / "poisoned") as cache:
        assert any(key.startswith("views:") for key, _ in old)
        cache.put(old)
    assert features_of(pictures, tmp_path / "poisoned").tobytes() == clean.tobytes()


def test_cached_copies_that_are_no_numbers_are_extracted_again(
    pictures: FeatureSet, tmp_path: Path
) -> None:
    clean = features_of(pictures, tmp_path / "cache")
    with Cache(tmp_path / "cache") as cache:
        rows = rows_of(cache).execute("SELECT key FROM entries").fetchall()
        wrong = np.full(2 * TINY_POOLED, np.nan, np.float32).tobytes()
        cache.put([(key, wrong) for (key,) in rows])
    assert features_of(pictures, tmp_path / "cache").tobytes() == clean.tobytes()
