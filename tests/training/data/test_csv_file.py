"""Tables as spreadsheets write them."""

import pytest

from training.data.csv_file import parse_csv
from training.errors import BadTable

ROWS = [("a/1.jpg", "anna"), ("a/2.jpg", "ben")]
PLAIN = "file,group\na/1.jpg,anna\na/2.jpg,ben\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", ", "),
        PLAIN.replace("file,group", "File, GROUP "),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\n\n"),
        PLAIN.replace("\n", ",,\n"),
        PLAIN + ",\n , \n",
        "\n\n" + PLAIN,
        "# exported today\n#, by me\n" + PLAIN,
        "sep=;\n" + PLAIN.replace(",", ";"),
        "sep=\t\r\n" + PLAIN.replace(",", "\t"),
        '"file","group"\n"a/1.jpg","anna"\n"a/2.jpg", "ben"\n',
        "id;Group;File\n1;anna;a/1.jpg\n2;ben;a/2.jpg\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_parse_csv_reads_what_spreadsheets_write(text: str, encoding: str) -> None:
    assert parse_csv(text.encode(encoding), "t.csv").rows("file", "group") == ROWS


def test_parse_csv_keeps_quoted_delimiters_and_line_ends() -> None:
    table = parse_csv(b'file;group\n"a;b\nc.jpg";x,y\n', "t.csv")
    assert table.rows("file", "group") == [("a;b\nc.jpg", "x,y")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "t.csv has no column 'file'"),
        (b"name;group\n", "its first line is 'name;group'"),
        (b"fichier,groupe\n", "its first line is 'fichier,groupe'"),
        ("file,gröup\n".encode("latin-1"), "t.csv is not UTF-8 text"),
        (PLAIN.encode("utf-16-le"), "no column 'file'"),
        (b"file,group\na.jpg\n", "t.csv, row 1: a cell is missing"),
        (b'sep="\nfile,group\n', "t.csv"),
    ],
)
def test_parse_csv_names_what_it_found(data: bytes, reason: str) -> None:
    with pytest.raises(BadTable) as caught:
        parse_csv(data, "t.csv").rows("file", "group")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
