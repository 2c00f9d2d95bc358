"""labels.csv and groups.csv: columns `file` and `label` or `group`, as the training job has."""

import codecs
import csv
import io
from typing import Final, Literal

from models.text import clean, normalize_name, normalize_path
from studio.problems import BadTable
from studio.projects.classes import LEFT_OUT

TableKind = Literal["labels", "groups"]

COLUMNS: Final[dict[TableKind, str]] = {"labels": "label", "groups": "group"}
_DELIMITERS: Final = (",", ";", "\t", "|")
MAX_TABLE_BYTES: Final = 32 * 2**20
"""Max bytes of a table."""


def parse_table(data: bytes, kind: TableKind) -> dict[str, str]:
    """Return label or group by file.

    Raises:
        BadTable: It is not UTF-8 or UTF-16, has no such columns, or contradicts itself.
    """
    table, column = f"{kind}.csv", COLUMNS[kind]
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"{table} is not UTF-8 text: save it as CSV UTF-8.") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and (not lines[0].strip() or lines[0].startswith(("#", "sep="))):
        lines.pop(0)
    delimiter = max(_DELIMITERS, key=lines[0].count) if lines else ","
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error as error:
        raise BadTable(f"{table} is not a CSV file ({error}).") from error
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    if "file" not in header or column not in header:
        raise BadTable(f"{table} needs the columns file, {column}; it begins with {header[:9]}.")
    file_at, value_at = header.index("file"), header.index(column)
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(file_at, value_at):
            raise BadTable(f"{table}, row {number}: a cell is missing.")
        try:
            file = clean(normalize_path(row[file_at].strip(), backslashes=True))
        except ValueError as error:
            raise BadTable(f"{table}, row {number}: {error}.") from error
        value = normalize_name(row[value_at])
        if kind == "labels" and not value:
            value = LEFT_OUT  # as the training job reads it
        if found.setdefault(file, value) != value:
            raise BadTable(f"{table} has both {found[file]!r} and {value!r} for {file}: keep one.")
    return found


def write_table(kind: TableKind, rows: list[tuple[str, str]]) -> bytes:
    """Return a table as UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", COLUMNS[kind]])
    writer.writerows(rows)
    return out.getvalue().encode()
