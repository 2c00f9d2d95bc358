"""Reading pictures: what counts, what belongs together, what is told, and the fingerprint."""

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
from training.data.source import open_source
from training.errors import TooFewPictures, UnreadableData
from training.features.extract import Extractor, FactsOnly
from training.features.feature_set import Pictures, read_pictures


@pytest.fixture
def data(tmp_path: Path, draw_data: DrawData) -> Path:
    return draw_data(tmp_path / "data", {"bar": 11, "disc": 12})


def read(
    path: Path, cache: Path, extractor: Extractor | FactsOnly | None = None, **options: Any
) -> Pictures:
    with Cache(cache) as opened:
        return read_pictures(
            scan(open_source(path)),
            extractor or FactsOnly(32),
            opened,
            options.pop("config", FitConfig()),
            **options,
        )


def test_what_is_unreadable_is_skipped_and_the_rest_stays_in_step(
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
        say=lines.append,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert len(found.names) == len(found.classes) == len(found.groups) == 22
    assert len(found.extracted.facts) == 22
    assert found.extracted.features.shape == (22, TINY_POOLED)
    assert [found.labels[k] for k in found.classes] == [name.split("/")[0] for name in found.names]
    for place, name in enumerate(found.names):
        assert found.data(place) == (data / name).read_bytes()
    assert lines[0] == "2 files unreadable, skipped:"
    assert lines[1].startswith("  bar/000.jpg: ")
    assert lines[-1] == "22 pictures (10 bar, 12 disc), 0 of them from the cache."
    assert sum(done for done, _ in steps) == 24
    assert {total for _, total in steps} == {24}


def test_what_was_read_once_comes_from_the_cache_and_is_the_same(
    data: Path, tmp_path: Path
) -> None:
    extractor = Extractor(tiny_backbone())
    lines: list[str] = []
    first = read(data, tmp_path / "cache", extractor)
    again = read(data, tmp_path / "cache", extractor, say=lines.append)
    assert lines == ["23 pictures (11 bar, 12 disc), 23 of them from the cache."]
    assert again.extracted.features.tobytes() == first.extracted.features.tobytes()
    assert again.facts() == first.facts()


def test_copies_share_a_group_and_are_named_as_pairs(data: Path, tmp_path: Path) -> None:
    with Image.open(data / "disc" / "004.jpg") as picture:
        picture.save(data / "disc" / "z.jpg", quality=60)
    (data / "bar" / "z.jpg").write_bytes((data / "bar" / "002.jpg").read_bytes())
    found = read(data, tmp_path / "cache")
    pairs = {(found.names[i], found.names[j]) for i, j in found.copies}
    assert pairs == {("bar/002.jpg", "bar/z.jpg"), ("disc/004.jpg", "disc/z.jpg")}
    group = dict(zip(found.names, found.groups.tolist(), strict=True))
    for one, other in pairs:
        assert group[one] == group[other]
    assert len(np.unique(found.groups)) == found.facts().groups == 23


def test_the_fingerprint_is_of_contents_and_classes_and_not_of_names(
    data: Path, tmp_path: Path
) -> None:
    first = read(data, tmp_path / "cache").facts().fingerprint
    (data / "bar" / "000.jpg").rename(data / "bar" / "renamed.jpg")
    assert read(data, tmp_path / "cache").facts().fingerprint == first
    (data / "bar" / "renamed.jpg").rename(data / "disc" / "renamed.jpg")
    moved = read(data, tmp_path / "cache").facts().fingerprint
    (data / "disc" / "renamed.jpg").unlink()
    assert len({first, moved, read(data, tmp_path / "cache").facts().fingerprint}) == 3


def test_strict_refuses_what_is_unreadable(data: Path, tmp_path: Path) -> None:
    assert len(read(data, tmp_path / "cache", strict=True).names) == 23
    (data / "disc" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(UnreadableData, match=r"1 unreadable files.*disc/x\.jpg"):
        read(data, tmp_path / "cache", strict=True)


def test_every_class_needs_its_number_of_readable_pictures(data: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(FitConfig(), min_pictures=12)
    with pytest.raises(TooFewPictures, match=r"'bar' has 11 readable pictures, and 12 are needed"):
        read(data, tmp_path / "cache", config=config)


def test_a_class_that_the_table_of_labels_empties_is_named(data: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(data).as_posix() for path in (data / "bar").iterdir())
    (data / "labels.csv").write_text("file,label\n" + "".join(f"{name},disc\n" for name in names))
    with pytest.raises(TooFewPictures, match="'bar'"):
        read(data, tmp_path / "cache")
