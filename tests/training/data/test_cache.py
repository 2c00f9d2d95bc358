"""The cache: believed only where it is whole, begun anew where it is not."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from training.data.cache import Cache
from training.errors import OutputError


def file_of(folder: Path) -> Path:
    return folder / "features.sqlite"


def filled(folder: Path) -> Path:
    with Cache(folder) as cache:
        cache.put((f"key{n}", bytes([n % 256]) * 200) for n in range(300))
    return file_of(folder)


def test_what_is_put_is_had_again_by_a_later_run(tmp_path: Path) -> None:
    with Cache(tmp_path / "new" / "folder") as cache:
        cache.put([("a", b"one"), ("b", b"\0\xff"), ("c", b"")])
        cache.put([("a", b"two")])
    with Cache(tmp_path / "new" / "folder") as cache:
        assert [cache.get(key) for key in "abcd"] == [b"two", b"\0\xff", b"", None]


@pytest.mark.parametrize("column", ["value = X'00'", "crc = crc + 1", "value = zeroblob(200)"])
def test_a_damaged_value_is_not_believed(tmp_path: Path, column: str) -> None:
    with sqlite3.connect(filled(tmp_path)) as database:
        database.execute(f"UPDATE entries SET {column} WHERE key = 'key7'")
    database.close()
    with Cache(tmp_path) as cache:
        assert cache.get("key7") is None
        assert cache.get("key8") == b"\x08" * 200
        cache.put([("key7", b"again")])
        assert cache.get("key7") == b"again"


@pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 40, b"\0" * 99])
def test_a_file_that_is_no_database_is_replaced(tmp_path: Path, content: bytes) -> None:
    file_of(tmp_path).write_bytes(content)
    with Cache(tmp_path) as cache:
        assert cache.get("a") is None
        cache.put([("a", b"one")])
    with Cache(tmp_path) as cache:
        assert cache.get("a") == b"one"


@pytest.mark.parametrize("page", range(0, 20, 3))
def test_a_database_that_is_damaged_anywhere_gives_true_values_or_none(
    tmp_path: Path, page: int
) -> None:
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    data[page * 4096 + 100 : page * 4096 + 3000] = b"\xa5" * 2900
    path.write_bytes(data)
    wanted = [(f"key{n}", bytes([n % 256]) * 200) for n in range(300)]
    for _ in range(2):
        with Cache(tmp_path) as cache:
            assert all(cache.get(key) in (None, value) for key, value in wanted)
            cache.put(wanted)


def test_a_database_cut_short_still_serves(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:9000])
    with Cache(tmp_path) as cache:
        cache.put([("a", b"one")])
        assert cache.get("a") == b"one"


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"features\.sqlite cannot be used"):
        Cache(tmp_path / "file" / "cache")


def test_a_folder_in_the_file_s_place_is_an_output_error(tmp_path: Path) -> None:
    file_of(tmp_path).mkdir()
    with pytest.raises(OutputError, match="cannot be used"):
        Cache(tmp_path)


class Failing:
    """A database that refuses to be written."""

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


def test_a_full_disk_is_an_output_error_and_keeps_the_file(tmp_path: Path) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    cache = Cache(tmp_path)
    cache._database.close()
    cache._database = Failing(sqlite3.OperationalError("database or disk is full"))  # type: ignore[assignment]
    with pytest.raises(OutputError, match=r"cannot be written \(database or disk is full\)"):
        cache.put([("a", b"one")])
    assert path.read_bytes() == before


def test_damage_found_when_writing_begins_a_new_file(tmp_path: Path) -> None:
    filled(tmp_path)
    cache = Cache(tmp_path)
    cache._database.close()
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
            thread.join(60)
        for number in range(4):
            assert [cache.get(f"{number}-{n}") for n in range(20)] == [
                bytes([number, n]) for n in range(20)
            ]


def test_two_runs_share_one_file(tmp_path: Path) -> None:
    with Cache(tmp_path) as one, Cache(tmp_path) as other:
        one.put([("a", b"one")])
        other.put([("b", b"two")])
        assert (one.get("b"), other.get("a")) == (b"two", b"one")
