"""Tables beside the class folders: groups.csv, labels.csv and slices.csv.

    groups.csv   file,group             pictures that belong together: a person, a film, an address
    labels.csv   file,label             corrections: another class, or "-" to exclude a picture
    slices.csv   file,[attribute,]slice kinds of pictures that are evaluated separately as well

Files are named relative to the data set, with forward slashes.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.data.source import Source
from training.errors import BadTable

GROUPS_TABLE: Final = "groups.csv"
LABELS_TABLE: Final = "labels.csv"
SLICES_TABLE: Final = "slices.csv"
EXCLUDE: Final = "-"
"""Label that excludes a picture."""

_DEFAULT_ATTRIBUTE: Final = "slice"  # of a slices.csv without the column


def groups_by_pattern(pattern: str, pictures: Sequence[str]) -> dict[str, str]:
    """Return group by picture: the first capture group of a pattern found in its name.

    Raises:
        BadTable: The pattern is invalid, has no capture group, or matches no picture.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BadTable(
            f"--group-pattern {pattern!r} is not a regular expression: {error}."
        ) from error
    if expression.groups < 1:
        raise BadTable(f"--group-pattern {pattern!r} has no (bracket) around the group's name.")
    matches = ((name, expression.search(name)) for name in pictures)
    found = {name: match[1] for name, match in matches if match and match[1]}
    if not found:
        raise BadTable(f"--group-pattern {pattern!r} matches no picture's name.")
    return found


def read_groups(source: Source, root: str, pictures: Sequence[str]) -> dict[str, str]:
    """Return group by picture from the data set's groups.csv, if it has one.

    Raises:
        BadTable: The table is not as documented, or names no picture.
    """
    rows = _read_beside(source, root, GROUPS_TABLE, "group", pictures)
    return {name: group for name, group in rows if group}


def read_groups_file(table: Path, root: str, pictures: Sequence[str]) -> dict[str, str]:
    """Return group by picture from a table elsewhere.

    Raises:
        BadTable: It cannot be read, is not as documented, or names no picture.
    """
    try:
        data = table.read_bytes()
    except OSError as error:
        raise BadTable(f"{table} cannot be read ({error.strerror}).") from error
    rows = read_table(data, str(table), ("file", "group"))
    return {name: group for name, group in _match(rows, str(table), root, pictures) if group}


def read_labels(
    source: Source, root: str, pictures: Sequence[str], labels: Sequence[str]
) -> dict[str, str | None]:
    """Return corrected label by picture, None for an excluded one, from the set's labels.csv.

    Raises:
        BadTable: It is not as documented, names no picture, or names a class that has no folder.
    """
    corrections: dict[str, str | None] = {}
    for name, label in _read_beside(source, root, LABELS_TABLE, "label", pictures):
        if label in ("", EXCLUDE):
            corrections[name] = None
        elif label in labels:
            corrections[name] = label
        else:
            raise BadTable(
                f"{LABELS_TABLE} gives {name} the label {label!r}, and there is no such class: "
                f"the classes are {', '.join(labels)}; '{EXCLUDE}' excludes a picture."
            )
    return corrections


def read_slices(source: Source, root: str, pictures: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return slice by picture, by attribute, from the data set's slices.csv, if it has one.

    Raises:
        BadTable: It is not as documented, names no picture, or gives one two slices.
    """
    found = _read_bytes(source, root, SLICES_TABLE)
    if found is None:
        return {}
    data, where = found
    header, _ = _parse(data, where)
    if "attribute" in header:
        rows = read_table(data, where, ("file", "attribute", "slice"))
    else:
        plain = read_table(data, where, ("file", "slice"))
        rows = [(file, _DEFAULT_ATTRIBUTE, name) for file, name in plain]
    slices: dict[str, dict[str, str]] = {}
    for attribute in sorted({attribute for _, attribute, _ in rows}):
        own: list[tuple[str, ...]] = [(file, name) for file, of, name in rows if of == attribute]
        matched = _match(own, where, root, pictures)
        slices[attribute] = {file: name for file, name in matched if name}
    return slices


def read_table(data: bytes, where: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Read the named columns of a CSV file with a header.

    Raises:
        BadTable: It is not UTF-8 or not CSV, or a column or a cell is missing.
    """
    header, table = _parse(data, where)
    missing = [column for column in columns if column not in header]
    if missing:
        raise BadTable(f"{where} has no column {missing[0]!r}; it needs {', '.join(columns)}.")
    rows = []
    for number, row in enumerate(table, start=1):
        cells = tuple(row[column] for column in columns)
        if None in cells:
            raise BadTable(f"{where}, row {number}: a cell is missing.")
        rows.append(tuple(cell.strip() for cell in cells))
    return rows


def _read_bytes(source: Source, root: str, table: str) -> tuple[bytes, str] | None:
    """Return a table's bytes and its path for messages; None if the data set lacks it."""
    if not source.has(root + table):
        return None
    where = f"{source.path}/{root}{table}"
    try:
        return source.read(root + table), where
    except OSError as error:
        raise BadTable(f"{where} cannot be read ({error}).") from error


def _read_beside(
    source: Source, root: str, table: str, column: str, pictures: Sequence[str]
) -> list[tuple[str, str]]:
    """Return (name of picture, cell) of a two-column table of the data set, if it has it."""
    found = _read_bytes(source, root, table)
    if found is None:
        return []
    data, where = found
    return _match(read_table(data, where, ("file", column)), where, root, pictures)


def _match(
    rows: list[tuple[str, ...]], where: str, root: str, pictures: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the rows about pictures of the data set.

    Rows about missing files are no error, because people delete pictures and keep tables. A
    table of which no row matches is one, because it would be ignored silently.
    """
    known = set(pictures)
    cells: dict[str, str] = {}
    cleaned = [(root + file.replace("\\", "/").removeprefix("./"), cell) for file, cell in rows]
    matched = [(name, cell) for name, cell in cleaned if name in known]
    if rows and not matched:
        raise BadTable(
            f"{where}: no row names a picture of the data set; write files "
            f"like {pictures[0].removeprefix(root)}."
        )
    for name, cell in matched:
        if cells.setdefault(name, cell) != cell:
            raise BadTable(f"{where} has both {cells[name]!r} and {cell!r} for {name}: keep one.")
    return matched


def _parse(data: bytes, where: str) -> tuple[Sequence[str], list[dict[str, str]]]:
    """Return a CSV file's header and rows; a missing cell is None."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"{where} is not UTF-8 text.") from error
    reader = csv.DictReader(io.StringIO(text))
    try:
        return reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise BadTable(f"{where} is not a CSV file ({error}).") from error
