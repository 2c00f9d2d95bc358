"""Names of zip entries: other spellings of one path, and other encodings."""

import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest

from training.data.dataset import Listing, scan
from training.data.source import open_source
from training.errors import BadLayout, NoSuchData, TooFewClasses

TABLES = {
    "groups.csv": "file,group\nmask/00.jpg,g\nmask/01.jpg,g\n",
    "labels.csv": "file,label\nmask/02.jpg,no_mask\n",
}


class Encoded(zipfile.ZipInfo):
    """An entry whose name is packed in another encoding, with or without the UTF-8 flag."""

    encoding = "utf-8"
    flag = 0

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  zipfile's own name
        name = self.filename.encode(self.encoding, "surrogateescape")
        return name, (self.flag_bits & ~0x800) | self.flag


def packed(path: Path, *names: str, encoding: str = "utf-8", flag: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            entry = Encoded(name)
            entry.encoding, entry.flag = encoding, flag
            archive.writestr(entry, name.encode("utf-8", "surrogateescape"))
    return path


def listed(path: Path) -> Listing:
    return scan(open_source(path))


@pytest.mark.parametrize(
    "prefix",
    ["", "./", "./data/", "/data/", "/", "data//", ".\\", "data\\", "C:/data/", "C:\\", "././/"],
)
def test_other_spellings_of_a_path_list_the_same_set(tmp_path: Path, prefix: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for label in ("mask", "no_mask"):
            for index in range(3):
                archive.writestr(f"{prefix}{label}/{index:02}.jpg", b"x")
        for name, text in TABLES.items():
            archive.writestr(prefix + name, text)
    found = listed(tmp_path / "x.zip")
    assert found.labels == ("mask", "no_mask")
    assert (len(found.names), len(found.groups), len(found.corrected)) == (6, 2, 1)
    assert (found.skipped, found.unmatched) == ((), ())


def test_backslash_of_a_unix_archive_is_part_of_the_name(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", "a/1.jpg", "b/odd\\name.jpg")
    assert listed(path).names == ("a/1.jpg", "b/odd\\name.jpg")


def test_entry_that_leads_out_of_the_archive_is_left_out_and_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", "a/1.jpg", "b/1.jpg", "../b/2.jpg", "a/../../c.jpg")
    found = listed(path)
    assert found.names == ("a/1.jpg", "b/1.jpg")
    assert {file.name: file.reason for file in found.skipped} == {
        "../b/2.jpg": "its name leads out of the archive",
        "a/../../c.jpg": "its name leads out of the archive",
    }
    with pytest.raises(TooFewClasses, match=r"1 left out, the first \.\./a/1\.jpg: its name leads"):
        listed(packed(tmp_path / "y.zip", "../a/1.jpg"))


def test_absolute_entry_means_the_same_as_a_relative_one(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", "data/a/1.jpg", "/data/b/1.jpg", "//data/b/notes.txt")
    found = listed(path)
    assert found.labels == ("a", "b")
    assert [file.name for file in found.skipped] == ["data/b/notes.txt"]


def test_entries_of_one_name_are_named_and_the_last_counts(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "a/ä.jpg") for form in ("NFC", "NFD"))
    path = packed(tmp_path / "x.zip", nfc, "b/1.jpg", "b//1.jpg", nfd)
    found = listed(path)
    assert found.names == (nfc, "b/1.jpg")
    assert [file.name for file in found.skipped] == [nfc, "b/1.jpg"]
    assert "same name" in found.skipped[0].reason
    assert found.source.read(nfc) == nfd.encode()
    assert found.source.read("b/1.jpg") == b"b//1.jpg"


@pytest.mark.parametrize("encoding", ["utf-8", "cp437", "cp850"])
def test_western_names_without_the_flag_are_read(tmp_path: Path, encoding: str) -> None:
    path = packed(tmp_path / "x.zip", "Bärte/für.jpg", "größe/1.jpg", encoding=encoding)
    found = listed(path)
    assert found.labels == ("Bärte", "größe")
    assert found.names == ("Bärte/für.jpg", "größe/1.jpg")


def test_names_in_another_script_without_the_flag_are_read_if_utf8(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", "マスク/1.jpg", "なし/1.jpg")
    assert listed(path).labels == ("なし", "マスク")


@pytest.mark.parametrize(
    ("folders", "encoding"),
    [
        (("ソース", "ソフト", "なし"), "cp932"),
        (("マスク", "テスト"), "cp932"),
        (("表", "面"), "cp932"),
        (("口罩", "无"), "gbk"),
        (("маска", "без"), "cp866"),
        (("마스크", "없음"), "cp949"),
    ],
)
def test_class_folders_of_another_encoding_are_refused(
    tmp_path: Path, folders: tuple[str, ...], encoding: str
) -> None:
    names = [f"{folder}/{index}.jpg" for folder in folders for index in range(2)]
    with pytest.raises(BadLayout, match="is not UTF-8"):
        listed(packed(tmp_path / "x.zip", *names, encoding=encoding))


def test_file_of_another_encoding_is_read_under_a_safe_name(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", "a/ソース.jpg", "a/ソフト.jpg", "b/1.jpg", encoding="cp932")
    found = listed(path)
    assert len(found.names) == 3
    assert all("\ufffd" in name for name in found.names[:2])
    assert [found.source.read(name) for name in found.names[:2]] == [
        "a/ソース.jpg".encode(),
        "a/ソフト.jpg".encode(),
    ]


def test_flagged_name_that_is_no_utf8_is_the_reason(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", "a/caf\udce9.jpg", "b/1.jpg", flag=0x800)
    with pytest.raises(NoSuchData, match="marks a file name as UTF-8 that is not"):
        listed(path)


def test_unicode_path_of_info_zip_wins(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("ソース/1.jpg", "なし/1.jpg"):
            entry = Encoded(name)
            entry.encoding = "cp932"
            field = struct.pack("<BI", 1, zlib.crc32(name.encode("cp932"))) + name.encode()
            entry.extra = struct.pack("<HH", 0x7075, len(field)) + field
            archive.writestr(entry, b"x")
    assert listed(tmp_path / "x.zip").labels == ("なし", "ソース")


def test_system_folders_of_archives_are_named_once(tmp_path: Path) -> None:
    names = ("a/1.jpg", "b/1.jpg", "__MACOSX/a/1.jpg", "__MACOSX/b/1.jpg", "a/.DS_Store")
    found = listed(packed(tmp_path / "x.zip", *names))
    assert [file.name for file in found.skipped] == ["__MACOSX/", "a/.DS_Store"]
