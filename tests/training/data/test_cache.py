"""The cache: damaged entries are ignored, damaged files replaced."""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import WAIT_S
from training.data.cache import Cache
from training.data.progress import Progress
from training.errors import OutputError


def file_of(folder: Path) -> Path:
    return folder / "features.sqlite"


def filled(folder: Path) -> Path:
    with Cache(folder) as cache:
        cache.put((f"key{n}", bytes([n % 256]) * 200) for n in range(300))
    return file_of(folder)


def test_get_returns_what_an_earlier_run_put(tmp_path: Path) -> None:
    with Cache(tmp_path / "new" / "folder") as cache:
        cache.put([("a", b"one"), ("b", b"\0\xff"), ("c", b"")])
        cache.put([("a", b"two")])
    with Cache(tmp_path / "new" / "folder") as cache:
        assert [cache.get(key) for key in "abcd"] == [b"two", b"\0\xff", b"", None]


@pytest.mark.parametrize("column", ["value = X'00'", "crc = crc + 1", "value = zeroblob(200)"])
def test_get_returns_none_for_damaged_value(tmp_path: Path, column: str) -> None:
    with sqlite3.connect(filled(tmp_path)) as database:
        database.execute(f"UPDATE entries SET {column} WHERE key = 'key7'")
    database.close()
    with Cache(tmp_path) as cache:
        assert cache.get("key7") is None
        assert cache.get("key8") == b"\x08" * 200
        cache.put([("key7", b"again")])
        assert cache.get("key7") == b"again"


@pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 40, b"\0" * 99])
def test_file_that_is_no_database_is_replaced(tmp_path: Path, content: bytes) -> None:
    file_of(tmp_path).write_bytes(content)
    with Cache(tmp_path) as cache:
        assert cache.get("a") is None
        cache.put([("a", b"one")])
    with Cache(tmp_path) as cache:
        assert cache.get("a") == b"one"


@pytest.mark.parametrize("page", range(0, 20, 3))
def test_get_from_damaged_database_returns_true_value_or_none(tmp_path: Path, page: int) -> None:
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    data[page * 4096 + 100 : page * 4096 + 3000] = b"\xa5" * 2900
    path.write_bytes(data)
    wanted = [(f"key{n}", bytes([n % 256]) * 200) for n in range(300)]
    for _ in range(2):
        with Cache(tmp_path) as cache:
            assert all(cache.get(key) in (None, value) for key, value in wanted)
            cache.put(wanted)


def test_truncated_database_is_usable(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:9000])
    with Cache(tmp_path) as cache:
        cache.put([("a", b"one")])
        assert cache.get("a") == b"one"


def test_cache_in_impossible_folder_raises_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"features\.sqlite cannot be used"):
        Cache(tmp_path / "file" / "cache")


def test_folder_in_place_of_file_raises_output_error(tmp_path: Path) -> None:
    file_of(tmp_path).mkdir()
    with pytest.raises(OutputError, match="cannot be used"):
        Cache(tmp_path)


class Failing:
    """A database that fails to write."""

    def __init__(self, error: sqlite3.Error) -> None:
        self._error = error

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None: ...

    def executemany(self, *_: Any) -> None:
        raise self._error

    def execute(self, *_: Any) -> None:
        raise self._error

    def close(self) -> None: ...


def test_put_on_full_disk_raises_output_error_and_keeps_file(tmp_path: Path) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    cache = Cache(tmp_path)
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    cache._database = Failing(error)  # type: ignore[assignment]
    with pytest.raises(OutputError, match=r"cannot be written \(database or disk is full\)"):
        cache.put([("a", b"one")])
    assert path.read_bytes() == before


def test_put_into_damaged_database_replaces_it(tmp_path: Path) -> None:
    filled(tmp_path)
    cache = Cache(tmp_path)
    cache._database = Failing(sqlite3.DatabaseError("database disk image is malformed"))  # type: ignore[assignment]
    assert cache.get("key1") is None
    cache.put([("a", b"one")])
    with cache:
        assert cache.get("a") == b"one"


def test_threads_share_one_cache(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:

        def work(number: int) -> None:
            for n in range(20):
                cache.put([(f"{number}-{n}", bytes([number, n]))])
                assert cache.get(f"{number}-{n}") == bytes([number, n])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        for number in range(4):
            assert [cache.get(f"{number}-{n}") for n in range(20)] == [
                bytes([number, n]) for n in range(20)
            ]


def test_two_runs_share_one_file(tmp_path: Path) -> None:
    with Cache(tmp_path) as one, Cache(tmp_path) as other:
        one.put([("a", b"one")])
        other.put([("b", b"two")])
        assert (one.get("b"), other.get("a")) == (b"two", b"one")


# --- what happens to the file while a run uses it --------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        "CAST(value AS TEXT), crc",
        "'text', crc",
        "7, crc",
        "1.5, crc",
        "value, 'text'",
        "value, 1.5",
        "value, x'00'",
        "CAST(x'ffff' AS TEXT), crc",
    ],
)
def test_get_returns_none_for_values_of_other_types(tmp_path: Path, row: str) -> None:
    with sqlite3.connect(filled(tmp_path)) as database:
        database.execute(
            f"INSERT OR REPLACE INTO entries SELECT key, {row} FROM entries WHERE key = 'key7'"
        )
    database.close()
    with Cache(tmp_path) as cache:
        assert cache.get("key7") is None
        cache.put([("key7", b"again")])
        assert cache.get("key7") == b"again"


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_get_after_one_flipped_bit_returns_true_value_or_none(tmp_path: Path, bit: int) -> None:
    path = filled(tmp_path)
    size = path.stat().st_size
    for at in (*range(16, 200, 5), *range(200, size, 1499)):
        data = bytearray(path.read_bytes())
        data[at] ^= 1 << bit
        path.write_bytes(data)
        with Cache(tmp_path) as cache:
            for n in (0, 7, 150, 299):
                assert cache.get(f"key{n}") in (None, bytes([n % 256]) * 200)
            cache.put((f"key{n}", bytes([n % 256]) * 200) for n in range(300))


def replaced(folder: Path) -> None:
    """Replace the file, as another run's fresh start does."""
    file_of(folder).unlink()
    Cache(folder).__exit__()


def deleted(folder: Path) -> None:
    file_of(folder).unlink()


def folder_deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def damaged(folder: Path) -> None:
    file_of(folder).write_bytes(b"no database any more" * 500)


def emptied(folder: Path) -> None:
    file_of(folder).write_bytes(b"")


@pytest.mark.parametrize("change", [replaced, deleted, folder_deleted, damaged, emptied])
def test_cache_is_opened_again_after_its_file_changed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "cache"
    with Cache(folder) as cache:
        cache.put([("a", b"one")])
        change(folder)
        assert cache.get("a") in (b"one", None)
        cache.put([("b", b"two")])
        assert cache.get("b") == b"two"
    with Cache(folder) as cache:
        assert cache.get("b") == b"two"


def test_run_goes_on_without_a_locked_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.cache._LOCK_TIMEOUT_S", 0.05)
    lines: list[str] = []
    with Cache(tmp_path, progress=Progress(lines.append)) as cache:
        cache.put([("a", b"one")])
        other = sqlite3.connect(file_of(tmp_path))
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            cache.put([("b", b"two")])
            assert cache.get("b") is None
        other.rollback()
        other.close()
    (line,) = lines
    assert "locked" in line
    assert line.endswith("going on without it.")


def test_run_goes_on_without_a_cache_that_cannot_be_made_again(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = tmp_path / "cache"
    with Cache(folder, progress=Progress(lines.append)) as cache:
        cache.put([("a", b"one")])
        shutil.rmtree(folder)
        folder.write_bytes(b"a file in its place")
        cache.put([("b", b"two")])
        cache.put([("b", b"two")])
        assert cache.get("b") is None
    assert len(lines) == 1
