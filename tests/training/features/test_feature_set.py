"""The feature set: readable pictures, groups, log lines and fingerprint."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.images import DrawData
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.progress import Progress
from training.data.source import open_source
from training.errors import TooFewPictures, UnreadableData
from training.features.extract import Extractor, StatsOnly
from training.features.feature_set import FeatureSet, read_feature_set


@pytest.fixture
def data(tmp_path: Path, draw_data: DrawData) -> Path:
    return draw_data(tmp_path / "data", {"bar": 11, "disc": 12})


def read(
    path: Path, cache: Path, extractor: Extractor | StatsOnly | None = None, **options: Any
) -> FeatureSet:
    with Cache(cache) as opened:
        return read_feature_set(
            scan(open_source(path)),
            extractor or StatsOnly(32),
            opened,
            options.pop("config", FitConfig()),
            **options,
        )


def test_unreadable_pictures_are_skipped_and_the_rest_stays_aligned(
    data: Path, tmp_path: Path
) -> None:
    (data / "bar" / "000.jpg").write_bytes(b"")
    (data / "disc" / "0055.jpg").write_bytes(b"no picture")
    lines: list[str] = []
    steps: list[tuple[int, int]] = []
    found = read(
        data,
        tmp_path / "cache",
        Extractor(tiny_backbone()),
        progress=Progress(lines.append, lambda *step: steps.append(step)),
    )
    assert len(found.names) == len(found.classes) == len(found.groups) == 22
    assert len(found.stats) == 22
    assert found.features.shape == (22, TINY_POOLED)
    assert [found.labels[k] for k in found.classes] == [name.split("/")[0] for name in found.names]
    for index, name in enumerate(found.names):
        assert found.read(index) == (data / name).read_bytes()
    assert lines[0] == "2 files unreadable, skipped:"
    assert lines[1].startswith("  bar/000.jpg: ")
    assert lines[-1] == "22 pictures (10 bar, 12 disc), 0 of them from the cache."
    assert sum(done for done, _ in steps) == 24
    assert {total for _, total in steps} == {24}


def test_second_read_comes_from_the_cache_and_is_equal(data: Path, tmp_path: Path) -> None:
    extractor = Extractor(tiny_backbone())
    lines: list[str] = []
    first = read(data, tmp_path / "cache", extractor)
    again = read(data, tmp_path / "cache", extractor, progress=Progress(log=lines.append))
    assert lines == ["23 pictures (11 bar, 12 disc), 23 of them from the cache."]
    assert again.features.tobytes() == first.features.tobytes()
    assert again.dataset_facts() == first.dataset_facts()


def test_near_duplicates_share_a_group(data: Path, tmp_path: Path) -> None:
    with Image.open(data / "disc" / "004.jpg") as picture:
        picture.save(data / "disc" / "z.jpg", quality=60)
    (data / "bar" / "z.jpg").write_bytes((data / "bar" / "002.jpg").read_bytes())
    found = read(data, tmp_path / "cache")
    pairs = {(found.names[i], found.names[j]) for i, j in found.duplicates}
    assert pairs == {("bar/002.jpg", "bar/z.jpg"), ("disc/004.jpg", "disc/z.jpg")}
    group = dict(zip(found.names, found.groups.tolist(), strict=True))
    for one, other in pairs:
        assert group[one] == group[other]
    assert len(np.unique(found.groups)) == found.dataset_facts().groups == 23


def test_fingerprint_covers_contents_and_classes_but_not_names(data: Path, tmp_path: Path) -> None:
    first = read(data, tmp_path / "cache").dataset_facts().fingerprint
    (data / "bar" / "000.jpg").rename(data / "bar" / "renamed.jpg")
    assert read(data, tmp_path / "cache").dataset_facts().fingerprint == first
    (data / "bar" / "renamed.jpg").rename(data / "disc" / "renamed.jpg")
    moved = read(data, tmp_path / "cache").dataset_facts().fingerprint
    (data / "disc" / "renamed.jpg").unlink()
    assert len({first, moved, read(data, tmp_path / "cache").dataset_facts().fingerprint}) == 3


def test_strict_raises_on_unreadable_picture(data: Path, tmp_path: Path) -> None:
    assert len(read(data, tmp_path / "cache", strict=True).names) == 23
    (data / "disc" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(UnreadableData, match=r"1 unreadable files.*disc/x\.jpg"):
        read(data, tmp_path / "cache", strict=True)


def test_class_with_too_few_readable_pictures_raises(data: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(FitConfig(), min_pictures=12)
    with pytest.raises(TooFewPictures, match=r"'bar' has 11 readable pictures, and 12 are needed"):
        read(data, tmp_path / "cache", config=config)


def test_class_emptied_by_labels_csv_raises(data: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(data).as_posix() for path in (data / "bar").iterdir())
    (data / "labels.csv").write_text("file,label\n" + "".join(f"{name},disc\n" for name in names))
    with pytest.raises(TooFewPictures, match="'bar'"):
        read(data, tmp_path / "cache")
