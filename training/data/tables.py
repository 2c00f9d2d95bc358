"""The tables that may lie beside the class folders: groups.csv, labels.csv and slices.csv.

    groups.csv   file,group             pictures that belong together: a person, a film, an address
    labels.csv   file,label             corrections: another class, or "-" to leave a picture out
    slices.csv   file,[attribute,]slice kinds of pictures that are to be judged as well as others

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
LEAVE_OUT: Final = "-"

_ATTRIBUTE: Final = "slice"  # of a table of slices that names none


def groups_by_pattern(pattern: str, pictures: Sequence[str]) -> dict[str, str]:
    """Take each picture's group from the first bracket of a pattern found in its name.

    Raises:
        BadTable: The pattern is no regular expression, or has no bracket, or fits no picture.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BadTable(f"--group-pattern {pattern!r} is no regular expression: {error}.") from error
    if expression.groups < 1:
        raise BadTable(f"--group-pattern {pattern!r} has no (bracket) around the group's name.")
    matches = ((name, expression.search(name)) for name in pictures)
    found = {name: match[1] for name, match in matches if match and match[1]}
    if not found:
        raise BadTable(f"--group-pattern {pattern!r} fits no picture's name.")
    return found


def read_groups(source: Source, root: str, pictures: Sequence[str]) -> dict[str, str]:
    """Groups by picture from the data set's own table, if it has one."""
    return {name: group for name, group in _beside(source, root, GROUPS_TABLE, pictures) if group}


def read_given_groups(table: Path, root: str, pictures: Sequence[str]) -> dict[str, str]:
    """Groups by picture from a table elsewhere.

    Raises:
        BadTable: It cannot be read, is not as documented, or names no picture.
    """
    try:
        data = table.read_bytes()
    except OSError as error:
        raise BadTable(f"{table} cannot be read ({error.strerror}).") from error
    rows = read_table(data, str(table), ("file", "group"))
    return {name: group for name, group in _known(rows, str(table), root, pictures) if group}


def read_labels(
    source: Source, root: str, pictures: Sequence[str], labels: Sequence[str]
) -> dict[str, str | None]:
    """Corrected label by picture, None for one to leave out, from the data set's own table.

    Raises:
        BadTable: It is not as documented, names no picture, or names a class that has no folder.
    """
    corrections: dict[str, str | None] = {}
    for name, label in _beside(source, root, LABELS_TABLE, pictures):
        if label in ("", LEAVE_OUT):
            corrections[name] = None
        elif label in labels:
            corrections[name] = label
        else:
            raise BadTable(
                f"{LABELS_TABLE} gives {name} the label {label!r}, and there is no such class: "
                f"the classes are {', '.join(labels)}; '{LEAVE_OUT}' leaves a picture out."
            )
    return corrections


def read_slices(source: Source, root: str, pictures: Sequence[str]) -> dict[str, dict[str, str]]:
    """Slice by picture, by attribute, from the data set's own table, if it has one.

    Raises:
        BadTable: It is not as documented, names no picture, or says two things of one.
    """
    found = _content(source, root, SLICES_TABLE)
    if found is None:
        return {}
    data, where = found
    header, _ = _parse(data, where)
    if "attribute" in header:
        rows = read_table(data, where, ("file", "attribute", "slice"))
    else:
        plain = read_table(data, where, ("file", "slice"))
        rows = [(file, _ATTRIBUTE, name) for file, name in plain]
    slices: dict[str, dict[str, str]] = {}
    for attribute in sorted({attribute for _, attribute, _ in rows}):
        own: list[tuple[str, ...]] = [(file, name) for file, of, name in rows if of == attribute]
        known = _known(own, where, root, pictures)
        slices[attribute] = {file: name for file, name in known if name}
    return slices


def _content(source: Source, root: str, table: str) -> tuple[bytes, str] | None:
    """A table's bytes and where it lies, if the data set has it."""
    if not source.has(root + table):
        return None
    where = f"{source.path}/{root}{table}"
    try:
        return source.read(root + table), where
    except OSError as error:
        raise BadTable(f"{where} cannot be read ({error}).") from error


def _beside(
    source: Source, root: str, table: str, pictures: Sequence[str]
) -> list[tuple[str, str]]:
    found = _content(source, root, table)
    if found is None:
        return []
    data, where = found
    column = "group" if table == GROUPS_TABLE else "label"
    return _known(read_table(data, where, ("file", column)), where, root, pictures)


def _known(
    rows: list[tuple[str, ...]], where: str, root: str, pictures: Sequence[str]
) -> list[tuple[str, str]]:
    """The rows about pictures that are there.

    Rows about files that are gone are no error, for people delete pictures and keep tables; a
    table of which no row fits is one, for it would be ignored without a word.
    """
    known = set(pictures)
    said: dict[str, str] = {}
    cleaned = [(root + file.replace("\\", "/").removeprefix("./"), cell) for file, cell in rows]
    found = [(name, cell) for name, cell in cleaned if name in known]
    if rows and not found:
        raise BadTable(
            f"{where}: no row names a picture of the data set; write files "
            f"like {pictures[0].removeprefix(root)}."
        )
    for name, cell in found:
        if said.setdefault(name, cell) != cell:
            raise BadTable(f"{where} says both {said[name]!r} and {cell!r} of {name}: keep one.")
    return found


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


def _parse(data: bytes, where: str) -> tuple[Sequence[str], list[dict[str, str]]]:
    """A CSV file's header and rows; a cell that is missing is None."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"{where} is not UTF-8 text.") from error
    reader = csv.DictReader(io.StringIO(text))
    try:
        return reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise BadTable(f"{where} is no CSV file ({error}).") from error
