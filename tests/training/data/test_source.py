"""Folders and zip files: the same names and bytes, and an OSError for what cannot be read."""

import os
import struct
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest

from training.data import source
from training.data.source import FolderSource, ZipSource, open_source
from training.errors import ChangedData, NoSuchData

FILES = {"a/1.jpg": b"one", "a/deep/er/2.jpg": b"two" * 500, "b/3": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "data" / "empty").mkdir()
    return tmp_path / "data"


@pytest.fixture(params=["stored", "deflated", "bzip2", "lzma"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Path:
    methods = {
        "stored": zipfile.ZIP_STORED,
        "deflated": zipfile.ZIP_DEFLATED,
        "bzip2": zipfile.ZIP_BZIP2,
        "lzma": zipfile.ZIP_LZMA,
    }
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", methods[request.param]) as writer:
        writer.mkdir("empty")
        for name in FILES:
            writer.write(folder / name, name)
    return path


def test_folder_names_are_sorted_and_relative(folder: Path) -> None:
    found = open_source(folder)
    assert isinstance(found, FolderSource)
    assert found.names() == sorted(FILES)
    assert {name: found.read(name) for name in found.names()} == FILES


def test_zip_source_equals_folder_source(archive: Path) -> None:
    found = open_source(archive)
    assert isinstance(found, ZipSource)
    assert found.names() == sorted(FILES)
    assert {name: found.read(name) for name in found.names()} == FILES


def test_read_of_deleted_file_raises_os_error(folder: Path) -> None:
    found = open_source(folder)
    (folder / "a/1.jpg").unlink()
    with pytest.raises(OSError, match="not a regular file"):
        found.read("a/1.jpg")


def test_read_of_special_file_raises_at_once(folder: Path) -> None:
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "a" / "broken.jpg").symlink_to(folder / "absent")
    found = open_source(folder)
    for name in ("a/pipe.jpg", "a/broken.jpg"):
        assert name in found.names()
        with pytest.raises(OSError, match="not a regular file"):
            found.read(name)


def test_read_of_too_large_file_raises(
    folder: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 1400)
    for path in (folder, archive):
        found = open_source(path)
        assert found.read("a/1.jpg") == b"one"
        with pytest.raises(OSError, match="over 1,400 bytes"):
            found.read("a/deep/er/2.jpg")


def test_names_of_unlistable_folder_raises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(NoSuchData, match=r"deep cannot be listed \(Permission denied\)"):
        open_source(folder).names()


def test_open_source_of_missing_path_raises(tmp_path: Path) -> None:
    with pytest.raises(NoSuchData, match="absent does not exist"):
        open_source(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(100)])
def test_open_source_of_other_file_raises(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(NoSuchData, match=r"data\.zip is not a zip file"):
        open_source(tmp_path / "data.zip")


def test_read_of_corrupt_zip_entry_raises_os_error(
    archive: Path,
) -> None:
    with zipfile.ZipFile(archive) as reader:
        entry = reader.getinfo("a/deep/er/2.jpg")
    data = bytearray(archive.read_bytes())
    start = entry.header_offset + 30 + len(entry.filename)
    for offset in range(start, start + entry.compress_size):
        data[offset] ^= 0x5A
    archive.write_bytes(data)
    found = open_source(archive)
    with pytest.raises(OSError, match=r"."):
        found.read("a/deep/er/2.jpg")
    assert found.read("a/1.jpg") == b"one"


def _patch(archive: Path, name: str, *, flag: int | None = None, method: int | None = None) -> None:
    """Edit one entry's flag or method, locally and in the directory."""
    data = bytearray(archive.read_bytes())
    for signature, skip in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        header = 30 if skip == 6 else 46
        at = data.find(signature)
        while at >= 0 and data[at + header : at + header + len(name)] != name.encode():
            at = data.find(signature, at + 1)
        if flag is not None:
            struct.pack_into("<H", data, at + skip, flag)
        if method is not None:
            struct.pack_into("<H", data, at + skip + 2, method)
    archive.write_bytes(data)


def test_read_of_encrypted_zip_entry_raises_os_error(archive: Path) -> None:
    _patch(archive, "a/1.jpg", flag=1)
    with pytest.raises(OSError, match="encrypted"):
        open_source(archive).read("a/1.jpg")


def test_read_of_zip_entry_of_unknown_method_raises_os_error(archive: Path) -> None:
    _patch(archive, "a/1.jpg", method=99)
    with pytest.raises(OSError, match="compression"):
        open_source(archive).read("a/1.jpg")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_zip_raises_its_two_errors_only(archive: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    original = archive.read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for _ in range(40):
        data = bytearray(original)
        for offset in random.integers(0, len(data), 6):
            data[offset] = int(random.integers(0, 256))
        archive.write_bytes(data)
        try:
            found = open_source(archive)
            names = found.names()
        except NoSuchData:
            outcomes["refused"] += 1
            continue
        for name in names:
            try:
                found.read(name)
                outcomes["read"] += 1
            except OSError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


# --- a file keeps the content of its first reading -------------------------------------------


def test_read_of_changed_file_raises_and_names_it(folder: Path) -> None:
    found = open_source(folder)
    assert found.read("a/1.jpg") == b"one"
    assert found.read("a/1.jpg") == b"one"
    (folder / "a/1.jpg").write_bytes(b"two")
    with pytest.raises(ChangedData, match=r"a/1\.jpg has changed since this run read it"):
        found.read("a/1.jpg")
    assert open_source(folder).read("a/1.jpg") == b"two"


@pytest.mark.parametrize("how", ["deleted", "emptied", "made a folder"])
def test_read_of_file_that_went_away_raises_and_names_it(folder: Path, how: str) -> None:
    found = open_source(folder)
    found.read("a/1.jpg")
    (folder / "a/1.jpg").unlink()
    if how == "emptied":
        (folder / "a/1.jpg").write_bytes(b"")
    elif how != "deleted":
        (folder / "a/1.jpg").mkdir()
    with pytest.raises(ChangedData, match=r"^a/1\.jpg "):
        found.read("a/1.jpg")
    assert ChangedData.exit_status == 3


# --- names -----------------------------------------------------------------------------------


def test_names_are_in_one_spelling_and_safe_to_show(tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "ä.jpg")
    for name in (nfd, "\x1b[31mred.jpg", "two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg")):
        (tmp_path / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    (tmp_path / os.fsdecode(b"caf\xe8.jpg")).write_bytes(b"other")
    found = open_source(tmp_path)
    assert sorted(found.names()) == sorted(
        [
            "caf\ufffd.jpg",
            "caf\ufffd (2).jpg",
            "two\ufffdlines.jpg",
            "ä.jpg",
            "\ufffd[31mred.jpg",
        ]
    )
    assert found.read("ä.jpg") == nfd.encode()
    assert {found.read("caf\ufffd.jpg"), found.read("caf\ufffd (2).jpg")} == {
        b"other",
        b"caf\xe9.jpg",
    }
    assert found.has("ä.jpg")


SYSTEM_FOLDERS = (
    *("lost+found", ".Trash-0", ".Trashes", "System Volume Information", "$RECYCLE.BIN", "@eaDir"),
    *("__MACOSX", ".thumbs", "Thumbs", "#recycle", "RECYCLER", "$Recycle.Bin", ".git"),
)


@pytest.mark.parametrize("name", SYSTEM_FOLDERS)
@pytest.mark.parametrize("where", ["", "a/"])
def test_system_folders_are_not_entered(
    folder: Path, name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / where / name).mkdir()
    (folder / where / name / "1.jpg").write_bytes(b"x")
    real = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = open_source(folder)
    assert found.names() == sorted(FILES)
    assert [(file.name, file.reason) for file in found.skipped] == [
        (f"{where}{name}/", "hidden or made by the system")
    ]


def test_open_source_of_impossible_path_raises(tmp_path: Path) -> None:
    with pytest.raises(NoSuchData, match="cannot be read"):
        open_source(tmp_path / ("x" * 300))
