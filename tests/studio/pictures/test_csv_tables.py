"""labels.csv and groups.csv: what is read, and what is refused with its reason."""

import codecs

import pytest

from studio.pictures.csv_tables import TableKind, parse_table, write_table
from studio.problems import BadTable
from studio.projects.classes import LEFT_OUT


@pytest.mark.parametrize(
    "data",
    [
        b"file,label\nmask/a.jpg,mask\nb.jpg,\n",
        b"\xef\xbb\xbffile;label\r\nmask/a.jpg;mask\r\nb.jpg;\r\n",  # as Excel saves it
        b"sep=;\nfile;label\nmask/a.jpg;mask\nb.jpg;\n",
        b"# checked by ann\n\nLabel\tFile\nmask\tmask\\a.jpg\n\n\tb.jpg\n",
        codecs.BOM_UTF16_LE + "file|label\nmask/a.jpg|mask\nb.jpg|\n".encode("utf-16-le"),
        b"file,label\nmask/a.jpg,mask\nmask/a.jpg,mask\nb.jpg,\n",  # twice, but the same
    ],
)
def test_tables_are_read_as_spreadsheets_save_them(data: bytes) -> None:
    assert parse_table(data, "labels") == {"mask/a.jpg": "mask", "b.jpg": LEFT_OUT}


def test_empty_group_is_no_group() -> None:
    assert parse_table(b"file,group\na.jpg,eva\nb.jpg,\n", "groups") == {
        "a.jpg": "eva",
        "b.jpg": "",
    }


def test_written_table_is_read_again() -> None:
    rows = [("a, b.jpg", 'the "first"'), ("c.jpg", "2")]
    assert parse_table(write_table("groups", rows), "groups") == dict(rows)


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("labels", b"", "labels.csv needs the columns file, label"),
        ("labels", b"name,label\na.jpg,mask\n", r"it begins with \['name', 'label'\]"),
        ("groups", b"file,label\na.jpg,mask\n", "groups.csv needs the columns file, group"),
        ("labels", "file,label\né.jpg,mask\n".encode("latin-1"), "is not UTF-8 text"),
        ("labels", b'file,label\n"a.jpg,' + b"m" * 200_000, "is not a CSV file"),
        ("labels", b"file,label\na.jpg,mask\nb.jpg\n", "row 2: a cell is missing"),
        ("labels", b"file,label\n../a.jpg,mask\n", "row 1: "),
        ("labels", b"file,label\na.jpg,mask\na.jpg,no_mask\n", "both 'mask' and 'no_mask'"),
    ],
)
def test_refused_table_has_its_reason(kind: TableKind, data: bytes, reason: str) -> None:
    with pytest.raises(BadTable, match=reason):
        parse_table(data, kind)
