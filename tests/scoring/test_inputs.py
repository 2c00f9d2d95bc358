"""Tests of `scoring.inputs`."""

import io
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.imaging.limits import MAX_FILE_BYTES
from scoring.errors import BadInput
from scoring.inputs.entry import Entry, Input, Unreadable
from scoring.inputs.open import open_input


def _keys(source: Input) -> list[str]:
    return [entry.key for entry in source.entries()]


def _contents(source: Input) -> list[bytes | Unreadable]:
    return source.read(list(source.entries()))


def _folder(root: Path, names: dict[str, bytes]) -> Path:
    for name, content in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_folder_lists_pictures_by_key_and_counts_the_rest(tmp_path: Path) -> None:
    names = ["b/2.jpg", "b/10.jpg", "a.png", "b-1.heic", "b/c/deep.webp"]
    other = ["notes.txt", ".hidden.jpg", "__MACOSX/a.jpg", "clip.mov"]
    source = open_input(str(_folder(tmp_path, {name: name.encode() for name in names + other})))

    assert _keys(source) == sorted(names)
    assert source.skipped == len(other)
    assert _contents(source) == [name.encode() for name in sorted(names)]


def test_folder_follows_links_but_no_circles(tmp_path: Path) -> None:
    _folder(tmp_path, {"in/a.jpg": b"a", "elsewhere/b.jpg": b"b"})
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "side").symlink_to(tmp_path / "elsewhere")

    assert _keys(open_input(str(tmp_path / "in"))) == ["a.jpg", "side/b.jpg"]


def test_unreadable_files_are_named_by_their_reason(tmp_path: Path) -> None:
    source = open_input(str(_folder(tmp_path, {"a.jpg": b"a", "big.jpg": b""})))
    with open(tmp_path / "big.jpg", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")

    good, big, gone = _contents(source)
    assert good == b"a"
    assert isinstance(big, Unreadable)
    assert "over" in str(big)
    assert isinstance(gone, Unreadable)
    assert "No such file" in str(gone)


def test_changed_file_has_another_stamp(tmp_path: Path) -> None:
    source = open_input(str(_folder(tmp_path, {"a.jpg": b"a"})))
    (before,) = source.entries()
    (tmp_path / "a.jpg").write_bytes(b"changed")
    (after,) = source.entries()
    assert before.key == after.key
    assert before.stamp != after.stamp


@pytest.mark.parametrize(
    "name", ['quote".jpg', "new\nline.jpg", "tab\t.jpg", "ü.jpg", "\udcff.jpg"]
)
def test_entry_survives_its_line(name: str) -> None:
    entry = Entry(name, 'a"b', "1 2")
    assert "\n" not in entry.line()
    assert Entry.parse(entry.line()) == entry


def test_list_reads_paths_relative_to_itself_and_urls(tmp_path: Path) -> None:
    _folder(tmp_path, {"lists/in/a.jpg": b"a", "b.jpg": b"b"})
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/c.jpg", b"c")
    lines = ["in/a.jpg", "", f"  {tmp_path}/b.jpg ", "memory://bucket/c.jpg", "gone.jpg"]
    (tmp_path / "lists" / "all.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    source = open_input(str(tmp_path / "lists" / "all.txt"))

    contents = dict(zip(_keys(source), _contents(source), strict=True))
    assert contents.pop("in/a.jpg") == b"a"
    assert contents.pop(f"{tmp_path}/b.jpg") == b"b"
    assert contents.pop("memory://bucket/c.jpg") == b"c"
    assert isinstance(contents.pop("gone.jpg"), Unreadable)
    assert not contents


def test_folder_of_another_file_system() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("x/2.jpg", "x/10.jpg", "x/y/1.png", "x/readme.md"):
        memory.pipe_file(f"/archive/{name}", name.encode())
    source = open_input("memory://archive")

    assert _keys(source) == ["x/10.jpg", "x/2.jpg", "x/y/1.png"]
    assert source.skipped == 1
    assert _contents(source) == [b"x/10.jpg", b"x/2.jpg", b"x/y/1.png"]


def _tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_tar_members_are_read_in_place(tmp_path: Path) -> None:
    members = [("b.jpg", b"bb"), ("b.json", b"{}"), ("sub/a.png", b"aaa"), ("b.jpg", b"again")]
    source = open_input(str(_tar(tmp_path / "x.tar", members)))
    assert _keys(source) == ["b.jpg", "sub/a.png"]
    assert _contents(source) == [b"again", b"aaa"]  # the last member of a name counts
    assert source.skipped == 1


def test_tar_that_was_cut_is_refused_or_named(tmp_path: Path) -> None:
    path = _tar(tmp_path / "x.tar", [("a.jpg", b"a" * 2000)])
    whole = open_input(str(path))
    entries = list(whole.entries())
    path.write_bytes(path.read_bytes()[:1000])
    (content,) = whole.read(entries)
    assert isinstance(content, Unreadable)


@pytest.mark.parametrize("column", ["bytes", "image"])
def test_parquet_of_bytes(tmp_path: Path, column: str) -> None:
    table = pa.table({column: [b"b", b"a", None], "id": ["2", "1", "3"]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    source = open_input(str(tmp_path / "x.parquet"))

    assert _keys(source) == ["1", "2", "3"]
    first, second, missing = _contents(source)
    assert (first, second) == (b"a", b"b")
    assert isinstance(missing, Unreadable)


def test_parquet_of_structs_as_hugging_face_writes_them(tmp_path: Path) -> None:
    pictures = [{"bytes": b"a", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}]
    pq.write_table(pa.table({"image": pictures}), tmp_path / "x.parquet")
    source = open_input(str(tmp_path / "x.parquet"))

    assert _keys(source) == ["000000000000", "000000000001"]
    first, missing = _contents(source)
    assert first == b"a"
    assert isinstance(missing, Unreadable)


def test_parquet_of_paths(tmp_path: Path) -> None:
    _folder(tmp_path, {"in/a.jpg": b"a"})
    pq.write_table(pa.table({"path": ["in/a.jpg"]}), tmp_path / "x.parquet")
    assert _contents(open_input(str(tmp_path / "x.parquet"))) == [b"a"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.parquet", b"no parquet", "cannot be read"),
        ("x.tar", b"no tar" * 200, "cannot be listed"),
        ("x.docx", b"", "no folder, and no list"),
        ("x.txt", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_unusable_input_is_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=sentence) as caught:
        _keys(open_input(str(tmp_path / name)))
    assert name in str(caught.value)


@pytest.mark.parametrize("address", ["nowhere", "nosuch://x/y"])
def test_missing_input_is_named(tmp_path: Path, address: str) -> None:
    path = address if "://" in address else str(tmp_path / address)
    with pytest.raises(BadInput, match=address):
        open_input(path)


def test_parquet_without_pictures_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="no column of pictures"):
        open_input(str(tmp_path / "x.parquet"))
