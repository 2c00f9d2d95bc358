"""CSV files as spreadsheets write them: their encoding, delimiter, line ends and header."""

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.text import clean
from training.errors import BadTable

_DELIMITERS: Final = (",", ";", "\t", "|")
_MAX_CHARS_SHOWN: Final = 60  # of a first line that is not a header


@dataclass(frozen=True)
class CsvFile:
    """A table with a header.

    Attributes:
        path: For messages.
        header: Names of the columns, in lower case.
        table: The rows of cells, which may be shorter or longer than the header.
        first_line: The first line as written, for messages.
    """

    path: str
    header: Sequence[str]
    table: Sequence[Sequence[str]]
    first_line: str

    def rows(self, *columns: str) -> list[tuple[str, ...]]:
        """Return the cells of the named columns, without blanks around them.

        Raises:
            BadTable: A column or a cell is missing.
        """
        missing = [column for column in columns if column not in self.header]
        if missing:
            raise BadTable(
                f"{self.path} has no column {missing[0]!r}; it needs {', '.join(columns)}, "
                f"separated by commas, and its first line is {self.first_line!r}."
            )
        indices = [self.header.index(column) for column in columns]
        rows = []
        for number, row in enumerate(self.table, start=1):
            if len(row) <= max(indices):
                raise BadTable(f"{self.path}, row {number}: a cell is missing.")
            rows.append(tuple(row[index].strip() for index in indices))
        return rows


def parse_csv(data: bytes, path: str) -> CsvFile:
    """Parse a CSV file, whose cells are separated by commas, semicolons, tabs or bars.

    Blank lines and comments (#) before the header are skipped, and so is the line `sep=;` by which
    spreadsheets are given the delimiter.

    Raises:
        BadTable: It is not text in UTF-8, or in UTF-16 with its mark, or not CSV.
    """
    lines = _decode(data, path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    given: str | None = None
    while lines and (not (line := lines[0].strip()) or line[0] == "#" or line[:4] == "sep="):
        if line[:4] == "sep=":
            given = lines[0].strip(" \n")[4:5] or None
        lines.pop(0)
    first_line = lines[0] if lines else ""
    delimiter = given or max(_DELIMITERS, key=first_line.count)
    try:
        rows = [
            row
            for row in csv.reader(
                io.StringIO("\n".join(lines), newline="\n"),
                delimiter=delimiter,
                skipinitialspace=True,
            )
            if any(cell.strip() for cell in row)
        ]
    except (csv.Error, TypeError) as error:
        raise BadTable(f"{path} is not a CSV file ({error}).") from error
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    return CsvFile(path, header, rows[1:], clean(first_line[:_MAX_CHARS_SHOWN]))


def _decode(data: bytes, path: str) -> str:
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"{path} is not UTF-8 text: save it as CSV UTF-8.") from error
