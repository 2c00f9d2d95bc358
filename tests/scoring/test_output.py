"""Tests of `scoring.output`."""

import io
import threading
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from scoring.errors import OutputTaken, OutputUnusable, ShardsMissing
from scoring.output import MANIFEST, Output

NAME = "0000000-0123456789abcdef0123.parquet"
OTHER = "0000001-0123456789abcdef0123.parquet"
TABLE = pa.table({"key": ["a"]})


@pytest.fixture(params=["local", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    address = str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path}/out"
    return Output(address, create=True)


def test_shard_is_listed_once_it_is_written(output: Output) -> None:
    assert output.shards() == set()
    output.write_shard(NAME, TABLE)
    assert output.shards() == {NAME}
    assert output.read_shard(NAME) == TABLE


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    output = Output(str(tmp_path), create=True)
    output.write_shard(NAME, TABLE)
    first = (tmp_path / NAME).read_bytes()
    output.write_shard(NAME, pa.table({"key": ["a"]}))
    assert (tmp_path / NAME).read_bytes() == first


def test_shard_is_read_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of Arrow that holds a buffer at the interpreter's end aborts the process."""
    output = Output(str(tmp_path), create=True)
    columns = {name: list(range(100_000)) for name in "abcd"}
    output.write_shard(NAME, pa.table(columns))
    readers: set[int] = set()

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            readers.add(threading.get_ident())
            return super().read(size)

    content = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(output, "_fs", SimpleNamespace(open=lambda *_: Watched(content)))
    assert output.read_shard(NAME, ["b", "c"]).column_names == ["b", "c"]
    assert readers == {threading.get_ident()}


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(str(tmp_path), create=True)

    def fail(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputUnusable, match="No space left"):
        output.write_shard(NAME, TABLE)
    assert list(tmp_path.iterdir()) == []


def test_shards_of_another_run_are_refused_or_replaced(output: Output) -> None:
    output.write_shard(OTHER, TABLE)
    with pytest.raises(OutputTaken, match="1 shards of another model"):
        output.require_own([NAME], replace=False)
    output.require_own([NAME], replace=True)
    output.write_shard(NAME, TABLE)
    output.complete([NAME], {})
    assert output.shards() == {NAME}


def test_complete_removes_parts_of_killed_processes(tmp_path: Path) -> None:
    output = Output(str(tmp_path), create=True)
    (tmp_path / f".{NAME}.host-1.partial").write_bytes(b"half")
    (tmp_path / f".{MANIFEST}.host-1.partial").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("kept")
    output.write_shard(NAME, TABLE)
    output.complete([NAME], {"inputs": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, MANIFEST, "notes.txt"]
    assert output.manifest() == {"inputs": 1, "shards": [NAME]}


def test_shard_that_another_process_completed_meanwhile_is_written(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def complete_first(self: Path, target: str) -> Path:
        replace(self, target)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "replace", complete_first)
    output.write_shard(NAME, TABLE)
    assert output.shards() == {NAME}


def test_output_without_a_manifest_is_not_complete(output: Output) -> None:
    with pytest.raises(ShardsMissing, match="run the same command again"):
        output.manifest()


def test_broken_manifest_and_shard_are_named(tmp_path: Path) -> None:
    output = Output(str(tmp_path), create=True)
    (tmp_path / MANIFEST).write_text("{")
    (tmp_path / NAME).write_bytes(b"half")
    with pytest.raises(OutputUnusable, match=MANIFEST):
        output.manifest()
    with pytest.raises(OutputUnusable, match=NAME):
        output.read_shard(NAME)


def test_output_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnusable, match="file/out"):
        Output(str(tmp_path / "file" / "out"), create=True)


def test_opening_to_read_creates_nothing(tmp_path: Path) -> None:
    Output(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
