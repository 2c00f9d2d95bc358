"""Extraction: in order, each picture once, and the same bytes however the cache stands."""

import errno
import hashlib
import json
import mmap
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.imaging.decode import decode_image
from tests.images import encode, photograph
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.backbones.registry import LoadedBackbone
from training.config import EXTRACTION_BATCH
from training.data.cache import Cache
from training.data.source import FolderSource, open_source
from training.errors import OutputError
from training.features.extract import Extracted, Extractor, extract

COUNT = 2 * EXTRACTION_BATCH + 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for index in range(COUNT):
        (path / f"{index:02}.png").write_bytes(encode(photograph(40, 36, index)))
    return path


def run(folder: Path, cache: Path, backbone: LoadedBackbone | None = None) -> Extracted:
    source = open_source(folder)
    with Cache(cache) as opened:
        return extract(source, source.names(), Extractor(backbone or tiny_backbone()), opened)


def assert_same(one: Extracted, other: Extracted) -> None:
    assert one.features.tobytes() == other.features.tobytes()
    assert one.facts == other.facts
    assert one.kept.tolist() == other.kept.tolist()
    assert one.unreadable == other.unreadable


def test_features_are_the_backbone_s_in_the_order_of_names(
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
    assert [fact.sha256 for fact in found.facts] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]
    assert (found.unreadable, found.cached) == ([], 0)


def test_a_second_run_comes_from_the_cache_and_is_equal_to_the_last_bit(
    folder: Path, tmp_path: Path
) -> None:
    first = run(folder, tmp_path / "cache")
    second = run(folder, tmp_path / "cache")
    assert second.cached == COUNT
    assert_same(first, second)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_goes_on_from_part_of_the_cache_is_equal_to_the_last_bit(
    folder: Path, tmp_path: Path, seed: int
) -> None:
    whole = run(folder, tmp_path / "cache")
    source = open_source(folder)
    some = np.random.default_rng(seed).permutation(source.names())[: COUNT // 2].tolist()
    with Cache(tmp_path / "other") as opened:
        extract(source, some, Extractor(tiny_backbone()), opened)
    continued = run(folder, tmp_path / "other")
    assert continued.cached == len(some)
    assert_same(whole, continued)


def test_renamed_and_copied_pictures_are_known_by_their_content(
    folder: Path, tmp_path: Path
) -> None:
    first = run(folder, tmp_path / "cache")
    (folder / "00.png").rename(folder / "zz.png")
    (folder / "copy.png").write_bytes((folder / "01.png").read_bytes())
    second = run(folder, tmp_path / "cache")
    assert second.cached == COUNT + 1
    assert second.features[-1].tolist() == first.features[0].tolist()


def test_unreadable_pictures_are_named_and_their_neighbours_kept(
    folder: Path, tmp_path: Path
) -> None:
    whole = run(folder, tmp_path / "whole")
    (folder / "02.png").write_bytes(b"")
    (folder / "05.png").write_bytes(b"no picture")
    data = (folder / "09.png").read_bytes()
    (folder / "09.png").write_bytes(data[: len(data) // 2])
    (folder / "11.png").unlink()
    (folder / "11.png").symlink_to(folder / "absent")
    found = run(folder, tmp_path / "cache")
    reasons = {left.name: left.why for left in found.unreadable}
    assert list(reasons) == ["02.png", "05.png", "09.png", "11.png"]
    assert "empty" in reasons["02.png"]
    assert "Not a picture" in reasons["05.png"]
    assert "broken or cut short" in reasons["09.png"]
    assert "regular file" in reasons["11.png"]
    kept = [index for index in range(COUNT) if index not in (2, 5, 9, 11)]
    assert found.kept.tolist() == kept
    assert found.features.tobytes() == whole.features[kept].tobytes()
    assert [fact.sha256 for fact in found.facts] == [whole.facts[k].sha256 for k in kept]


def test_only_unreadable_pictures_give_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    found = run(folder, tmp_path / "cache")
    assert found.features.shape == (0, TINY_POOLED)
    assert (found.kept.tolist(), found.facts, len(found.unreadable)) == ([], [], 1)


def test_a_stale_or_damaged_entry_is_computed_again(folder: Path, tmp_path: Path) -> None:
    first = run(folder, tmp_path / "cache")
    extractor = Extractor(tiny_backbone())
    with Cache(tmp_path / "cache") as cache:
        # Of another width; the checksum is right.
        cache.put([(f"features:{extractor.key}:{first.facts[0].sha256}", b"\0" * 4)])
        cache._database.execute(
            "UPDATE entries SET value = zeroblob(24) WHERE key = ?",
            (f"features:{extractor.key}:{first.facts[1].sha256}",),
        )
        cache._database.execute(
            "DELETE FROM entries WHERE key LIKE 'facts:%' AND key LIKE ?",
            (f"%{first.facts[2].sha256}",),
        )
        cache._database.commit()
    second = run(folder, tmp_path / "cache")
    assert second.cached == COUNT - 3
    assert_same(first, second)
    assert run(folder, tmp_path / "cache").cached == COUNT


def test_another_backbone_s_features_are_not_taken(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "cache")
    other = tiny_backbone()
    facts = other.facts.model_copy(update={"weights_sha256": "f" * 64})
    again = run(folder, tmp_path / "cache", LoadedBackbone(other.spec, other.network, facts))
    assert again.cached == 0


def test_an_interrupted_run_keeps_what_it_had_done(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.parallel.usable_cores", lambda: 1)
    source = open_source(folder)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with Cache(tmp_path / "cache") as opened, pytest.raises(KeyboardInterrupt):
        extract(source, source.names(), Extractor(tiny_backbone()), opened, progress=interrupt)
    assert run(folder, tmp_path / "cache").cached >= EXTRACTION_BATCH


def test_progress_counts_every_picture(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder)
    done: list[int] = []
    with Cache(tmp_path / "cache") as opened:
        extract(source, source.names(), Extractor(tiny_backbone()), opened, progress=done.append)
    assert done == [EXTRACTION_BATCH, EXTRACTION_BATCH, 3]


@pytest.mark.parametrize("lanes", [1, 3])
def test_the_number_of_lanes_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    whole = run(folder, tmp_path / "whole")
    monkeypatch.setattr("training.data.parallel.usable_cores", lambda: lanes)
    assert_same(run(folder, tmp_path / "cache"), whole)


def test_many_pictures_pass_with_few_in_flight(
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

    def progress(count: int) -> None:
        nonlocal passed
        passed += count
        ahead.append(read - passed)

    names = [f"{index:03}" for index in range(12 * EXTRACTION_BATCH)]
    with Cache(tmp_path) as opened:
        found = extract(
            Same(tmp_path), names, Extractor(tiny_backbone()), opened, progress=progress
        )
    assert len(found.facts) == len(names)
    assert max(ahead) <= 4 * EXTRACTION_BATCH


def test_the_cached_facts_are_plain_json(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "cache")
    with Cache(tmp_path / "cache") as cache:
        rows = cache._database.execute(
            "SELECT value FROM entries WHERE key LIKE 'facts:%'"
        ).fetchall()
    assert {json.loads(row[0])["sha256"] for row in rows} == {f.sha256 for f in found.facts}


def test_features_lie_in_a_file_that_nobody_sees(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "cache")
    assert isinstance(found.features.base, np.memmap | mmap.mmap)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["features.sqlite"]


def test_no_room_for_features_is_told_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"no room for features of .* bytes .No space left"):
        run(folder, tmp_path / "cache")
