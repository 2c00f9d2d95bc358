"""Zip files of pictures: names, limits, bombs; and their tables."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from studio.formats.archive import Summary, import_zip
from studio.pictures.examine import Limits
from studio.pictures.recording import Result
from studio.problems import BadArchive, NotFound, TooManyFiles
from tests.studio.workspace import Workspace, picture


def pack(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, **options)
    return path


def take(workspace: Workspace, path: Path, **options: Any) -> Summary:
    limits: dict[str, Any] = {"max_files": 1000, "max_bytes": 10_000_000, "limits": Limits()}
    return import_zip(
        workspace.database, workspace.blobs, workspace.project, path, by="ann", **(limits | options)
    )


def test_a_zip_is_added_with_its_tables(workspace: Workspace, tmp_path: Path) -> None:
    files = {f"set/{label}/{n}.png": picture(f"{label}{n}") for label in "ab" for n in range(40)}
    files |= {
        "set/__MACOSX/a/._1.png": b"x",
        "set/labels.csv": b"file,label\na/0.png,b\na/1.png,-\na/2.png,rain\nnope.png,b\n",
        "set/groups.csv": "file;group\na/0.png;eva\nset/b/0.png;eva\n".encode("utf-16"),
        "set/a/notes.txt": b"x",
    }
    summary = take(workspace, pack(tmp_path / "a.zip", files))
    assert summary.counts == {"added": 80, "refused": 2}
    assert summary.tables["set/labels.csv"].unmatched == ["nope.png"]
    found = workspace.describe()
    assert found["classes"] == [
        {"name": "a", "pictures": 37},
        {"name": "b", "pictures": 41},
        {"name": "rain", "pictures": 1},
    ]
    assert found["counts"]["left_out"] == 1
    grouped = [id for id in workspace.ids() if workspace.picture(id)["group"] == "eva"]
    assert len(grouped) == 2
    assert take(workspace, tmp_path / "a.zip").counts == {"duplicate": 80, "refused": 2}


def test_names_that_lead_out_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.zip",
        {"../../x/a.png": picture("1"), "/etc/b.png": picture("2"), "a\\c.png": picture("3")},
    )
    summary = take(workspace, path)
    assert summary.counts == {"added": 2, "refused": 1}
    assert {workspace.picture(id)["label"] for id in workspace.ids()} == {"etc", "a"}
    assert not (tmp_path / "x").exists()


def test_names_in_other_encodings(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    pack(path, {"XXXXXX/1.png": picture("1"), "YYYYYY/2.png": picture("2")})
    data = path.read_bytes().replace(b"XXXXXX", "m\u00e4\u00dfk".encode())
    path.write_bytes(data.replace(b"YYYYYY", "\u30de\u30b9".encode()))
    take(workspace, path)
    assert {workspace.picture(id)["label"] for id in workspace.ids()} == {
        "m\u00e4\u00dfk",
        "\u30de\u30b9",
    }


def test_bombs_are_refused_before_they_are_unpacked(workspace: Workspace, tmp_path: Path) -> None:
    huge = pack(tmp_path / "a.zip", {"a/huge.png": bytes(3_000_000), "a/1.png": picture("1")})
    with pytest.raises(TooManyFiles, match="2,000,000 bytes in total"):
        take(workspace, huge, max_bytes=2_000_000)
    summary = take(workspace, huge, limits=Limits(max_file_bytes=1_000_000))
    assert summary.counts == {"added": 1, "refused": 1}
    assert "larger than the 1,000,000 bytes" in str(summary.results[0].reason)
    many = pack(tmp_path / "b.zip", {f"{n}.png": b"" for n in range(50)})
    with pytest.raises(TooManyFiles, match="may hold 49 files"):
        take(workspace, many, max_files=49)


def test_an_entry_that_unpacks_to_more_than_it_announces_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = pack(tmp_path / "a.zip", {"a/1.png": bytes(100_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10)))
    summary = take(workspace, path)
    assert summary.counts == {"refused": 1}


def test_the_end_record_is_judged_before_the_directory_is_read(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = pack(tmp_path / "a.zip", {"a/1.png": picture("1")})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", data, at + 8, 65_000, 65_000)
    path.write_bytes(data)
    with pytest.raises(TooManyFiles):
        take(workspace, path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06", b"PK\x05\x06" + bytes(9)])
def test_other_files_are_no_archives(workspace: Workspace, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(BadArchive):
        take(workspace, path)


def test_damaged_entries_have_reasons_and_the_others_are_added(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(3):
            archive.writestr(f"a/{n}.png", picture(str(n)))
    data = bytearray(path.read_bytes())
    at = data.find(picture("1")) + 40
    data[at] ^= 255
    path.write_bytes(data)
    summary = take(workspace, path)
    assert summary.counts == {"added": 2, "refused": 1}
    refused = next(one for one in summary.results if one.status == "refused")
    assert (refused.path, refused.code) == ("a/1.png", "unreadable_entry")


def test_a_project_that_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    workspace.project = 7
    with pytest.raises(NotFound):
        take(workspace, pack(tmp_path / "a.zip", {"a/1.png": picture("1")}))


def test_a_large_archive_with_a_comment(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"c" * 65_535
        archive.writestr("a/1.png", picture("1"))
    assert take(workspace, path).counts == {"added": 1}
    assert io.BytesIO(path.read_bytes()).read(2) == b"PK"


def test_an_encrypted_entry_is_refused_in_words(workspace: Workspace, tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a/0.png": picture("0")})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # as `zip --encrypt` marks it, in the entry and in the directory
    data[data.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    (refused,) = take(workspace, path).results
    assert refused.reason == "It is encrypted: pack the zip file without a password."


def test_all_that_is_refused_is_listed_however_much_is_added() -> None:
    summary = Summary()
    for number in range(300):
        summary.add([Result(f"{number}-{n}.png", "added") for n in range(64)])
        summary.add([Result(f"{number}.txt", "refused", reason="not a picture")])
    refused = [one for one in summary.results if one.status == "refused"]
    assert len(refused) == summary.counts["refused"] == 300
    assert len(summary.results) < 10_301
