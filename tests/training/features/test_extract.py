"""Extraction: in order, each picture once, the same bytes with and without the cache."""

import errno
import hashlib
import json
import mmap
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from models.imaging.decode import decode_image
from models.imaging.open import open_image
from tests.images import encode, photograph
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.backbones.registry import LoadedBackbone
from training.config import EXTRACTION_BATCH
from training.data import image_stats
from training.data.cache import Cache
from training.data.progress import Progress
from training.data.source import FolderSource, open_source
from training.errors import ChangedData, OutputError
from training.features.extract import Extracted, Extractor, extract

COUNT = 2 * EXTRACTION_BATCH + 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for index in range(COUNT):
        (path / f"{index:02}.png").write_bytes(encode(photograph(40, 36, index)))
    return path


def rows_of(cache: Cache) -> sqlite3.Connection:
    assert cache._database is not None
    return cache._database


def run(folder: Path, cache: Path, backbone: LoadedBackbone | None = None) -> Extracted:
    source = open_source(folder)
    with Cache(cache) as opened:
        return extract(source, source.names(), Extractor(backbone or tiny_backbone()), opened)


def assert_same(one: Extracted, other: Extracted) -> None:
    assert one.features.tobytes() == other.features.tobytes()
    assert one.stats == other.stats
    assert one.kept.tolist() == other.kept.tolist()
    assert one.unreadable == other.unreadable


def test_extract_returns_pooled_features_in_order(
    folder: Path, tmp_path: Path, backbone: LoadedBackbone
) -> None:
    found = run(folder, tmp_path / "cache")
    paths = sorted(folder.iterdir())
    pixels = torch.stack([decode_image(path.read_bytes(), size=32) for path in paths])
    with torch.inference_mode():
        mean, std = (
            torch.tensor(values).view(1, 3, 1, 1)
            for values in (backbone.spec.mean_rgb, backbone.spec.std_rgb)
        )
        planes = backbone.network((pixels.float() - mean) / std)  # (n, D, 8, 8)
    bands = [planes[:, :, rows].mean((2, 3)) for rows in (slice(0, 3), slice(2, 6), slice(5, 8))]
    wanted = torch.stack(bands, dim=2).flatten(1).numpy()
    assert found.features.dtype == np.float32
    assert found.features.shape == (COUNT, TINY_POOLED)
    np.testing.assert_allclose(found.features, wanted, atol=1e-5)
    assert found.kept.tolist() == list(range(COUNT))
    assert [stats.sha256 for stats in found.stats] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]
    assert (found.unreadable, found.num_cached) == ([], 0)


def test_second_run_is_cached_and_equal_to_the_bit(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "cache")
    second = run(folder, tmp_path / "cache")
    assert second.num_cached == COUNT
    assert_same(first, second)


@pytest.mark.parametrize("seed", range(3))
def test_continued_run_is_equal_to_the_bit(folder: Path, tmp_path: Path, seed: int) -> None:
    whole = run(folder, tmp_path / "cache")
    source = open_source(folder)
    some = np.random.default_rng(seed).permutation(source.names())[: COUNT // 2].tolist()
    with Cache(tmp_path / "other") as opened:
        extract(source, some, Extractor(tiny_backbone()), opened)
    continued = run(folder, tmp_path / "other")
    assert continued.num_cached == len(some)
    assert_same(whole, continued)


def test_cache_is_keyed_by_content(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "cache")
    (folder / "00.png").rename(folder / "zz.png")
    (folder / "copy.png").write_bytes((folder / "01.png").read_bytes())
    second = run(folder, tmp_path / "cache")
    assert second.num_cached == COUNT + 1
    assert second.features[-1].tolist() == first.features[0].tolist()


def test_unreadable_pictures_are_reported_and_neighbours_kept(folder: Path, tmp_path: Path) -> None:
    whole = run(folder, tmp_path / "whole")
    (folder / "02.png").write_bytes(b"")
    (folder / "05.png").write_bytes(b"no picture")
    data = (folder / "09.png").read_bytes()
    (folder / "09.png").write_bytes(data[: len(data) // 2])
    (folder / "11.png").unlink()
    (folder / "11.png").symlink_to(folder / "absent")
    found = run(folder, tmp_path / "cache")
    reasons = {file.name: file.reason for file in found.unreadable}
    assert list(reasons) == ["02.png", "05.png", "09.png", "11.png"]
    assert "empty" in reasons["02.png"]
    assert "Not a picture" in reasons["05.png"]
    assert "broken or cut short" in reasons["09.png"]
    assert "regular file" in reasons["11.png"]
    kept = [index for index in range(COUNT) if index not in (2, 5, 9, 11)]
    assert found.kept.tolist() == kept
    assert found.features.tobytes() == whole.features[kept].tobytes()
    assert [stats.sha256 for stats in found.stats] == [whole.stats[k].sha256 for k in kept]


def test_extract_of_unreadable_pictures_only(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    found = run(folder, tmp_path / "cache")
    assert found.features.shape == (0, TINY_POOLED)
    assert (found.kept.tolist(), found.stats, len(found.unreadable)) == ([], [], 1)


def test_damaged_cache_entry_is_recomputed(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "cache")
    extractor = Extractor(tiny_backbone())
    with Cache(tmp_path / "cache") as cache:
        # Of another width; the checksum is right.
        cache.put([(f"features:{extractor.key}:{first.stats[0].sha256}", b"\0" * 4)])
        rows_of(cache).execute(
            "UPDATE entries SET value = zeroblob(24) WHERE key = ?",
            (f"features:{extractor.key}:{first.stats[1].sha256}",),
        )
        rows_of(cache).execute(
            "DELETE FROM entries WHERE key LIKE 'facts:%' AND key LIKE ?",
            (f"%{first.stats[2].sha256}",),
        )
        rows_of(cache).commit()
    second = run(folder, tmp_path / "cache")
    assert second.num_cached == COUNT - 3
    assert_same(first, second)
    assert run(folder, tmp_path / "cache").num_cached == COUNT


def changed(stats: bytes, **values: object) -> bytes:
    return json.dumps(json.loads(stats) | values).encode()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda stats: b"[]",
        lambda stats: b"null",
        lambda stats: b"{}",
        lambda stats: b"\xff",
        lambda stats: stats[:-2],
        lambda stats: changed(stats, more=1),
        lambda stats: changed(stats, width_px="40"),
        lambda stats: changed(stats, brightness=float("nan")),
        lambda stats: changed(stats, sharpness=None),
        lambda stats: changed(stats, dhash="no hash"),
        lambda stats: changed(stats, sha256="0" * 64),
    ],
)
def test_cached_stats_of_another_shape_are_measured_again(
    folder: Path, tmp_path: Path, wrong: Callable[[bytes], bytes]
) -> None:
    first = run(folder, tmp_path / "cache")
    with Cache(tmp_path / "cache") as cache:
        rows = (
            rows_of(cache)
            .execute("SELECT key, value FROM entries WHERE key LIKE 'facts:%'")
            .fetchall()
        )
        cache.put([(key, wrong(value)) for key, value in rows[:2]])
    second = run(folder, tmp_path / "cache")
    assert second.num_cached == COUNT - 2
    assert_same(first, second)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_cached_features_that_are_no_numbers_are_extracted_again(
    folder: Path, tmp_path: Path, value: float
) -> None:
    first = run(folder, tmp_path / "cache")
    key = f"features:{Extractor(tiny_backbone()).key}:{first.stats[0].sha256}"
    vector = first.features[0].copy()
    vector[-1] = value
    with Cache(tmp_path / "cache") as cache:
        cache.put([(key, vector.tobytes())])
    second = run(folder, tmp_path / "cache")
    assert second.num_cached == COUNT - 1
    assert_same(first, second)


def test_unreadable_picture_is_decoded_once_and_remembered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "02.png").write_bytes(b"no picture")
    first = run(folder, tmp_path / "cache")
    monkeypatch.setattr("training.features.extract.decode_and_measure", None)  # not called
    second = run(folder, tmp_path / "cache")
    assert_same(first, second)
    assert [file.name for file in second.unreadable] == ["02.png"]
    with Cache(tmp_path / "cache") as cache:
        rows_of(cache).execute("UPDATE entries SET crc = crc + 1 WHERE key LIKE 'failure:%'")
        rows_of(cache).commit()
    monkeypatch.undo()
    assert_same(first, run(folder, tmp_path / "cache"))


def test_decoding_has_the_time_bound_of_the_service(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_stats, "open_image", partial(open_image, decode_s=0.0))
    found = run(folder, tmp_path / "cache")
    assert len(found.unreadable) == COUNT
    assert "takes longer than 0 s" in found.unreadable[0].reason


def test_second_extraction_of_changed_picture_raises(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder)
    with Cache(tmp_path / "cache") as opened:
        extract(source, source.names(), Extractor(tiny_backbone()), opened)
        (folder / "03.png").write_bytes((folder / "04.png").read_bytes())
        with pytest.raises(ChangedData, match=r"^03\.png has changed"):
            extract(source, source.names(), Extractor(tiny_backbone(), variant="int8"), opened)


def test_cache_is_keyed_by_backbone(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "cache")
    other = tiny_backbone()
    facts = other.facts.model_copy(update={"weights_sha256": "f" * 64})
    again = run(folder, tmp_path / "cache", LoadedBackbone(other.spec, other.network, facts))
    assert again.num_cached == 0


def test_interrupted_run_keeps_finished_chunks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.parallel.usable_cores", lambda: 1)
    source = open_source(folder)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Cache(tmp_path / "cache") as opened, pytest.raises(KeyboardInterrupt):
        extract(
            source,
            source.names(),
            Extractor(tiny_backbone()),
            opened,
            progress=Progress(advance=interrupt),
        )
    assert run(folder, tmp_path / "cache").num_cached >= EXTRACTION_BATCH


def test_progress_counts_every_picture(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder)
    seen: list[tuple[int, int]] = []
    with Cache(tmp_path / "cache") as opened:
        extract(
            source,
            source.names(),
            Extractor(tiny_backbone()),
            opened,
            progress=Progress(advance=lambda *step: seen.append(step)),
        )
    assert seen == [(EXTRACTION_BATCH, COUNT), (EXTRACTION_BATCH, COUNT), (3, COUNT)]


@pytest.mark.parametrize("workers", [1, 3])
def test_number_of_workers_changes_no_bit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    whole = run(folder, tmp_path / "whole")
    monkeypatch.setattr("training.data.parallel.usable_cores", lambda: workers)
    assert_same(run(folder, tmp_path / "cache"), whole)


def test_number_of_pending_pictures_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.parallel.usable_cores", lambda: 1)
    data = encode(photograph(8, 8))
    read = 0

    class Same(FolderSource):
        def read(self, name: str) -> bytes:
            nonlocal read
            read += 1
            return data

    ahead: list[int] = []
    passed = 0

    def advance(done: int, total: int) -> None:
        nonlocal passed
        passed += done
        ahead.append(read - passed)

    names = [f"{index:03}" for index in range(12 * EXTRACTION_BATCH)]
    with Cache(tmp_path) as opened:
        found = extract(
            Same(tmp_path),
            names,
            Extractor(tiny_backbone()),
            opened,
            progress=Progress(advance=advance),
        )
    assert len(found.stats) == len(names)
    assert max(ahead) <= 4 * EXTRACTION_BATCH


def test_cached_stats_are_json(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "cache")
    with Cache(tmp_path / "cache") as cache:
        rows = (
            rows_of(cache).execute("SELECT value FROM entries WHERE key LIKE 'facts:%'").fetchall()
        )
    assert {json.loads(row[0])["sha256"] for row in rows} == {f.sha256 for f in found.stats}


def test_features_are_in_an_unnamed_file(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "cache")
    assert isinstance(found.features.base, np.memmap | mmap.mmap)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["features.sqlite"]


def test_extract_without_disk_space_raises_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"no room for features of .* bytes .No space left"):
        run(folder, tmp_path / "cache")
