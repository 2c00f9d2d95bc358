"""From files to a labelled listing: which file is a picture of which class, and which is not.

A picture's class is the folder right below the root that it lies in, however deep. Hidden
files and folders, and files that are no pictures by name, are left out and named.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from training.errors import BadTable, TooFewClasses
from training.source import Source

_PICTURE_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
)
# Folders that operating systems and storage boxes add to copies and archives.
_SYSTEM_FOLDERS: Final = frozenset(("__MACOSX", "@eaDir", "System Volume Information"))
_SYSTEM_FILES: Final = frozenset(("thumbs.db", "desktop.ini"))

GROUPS_TABLE: Final = "groups.csv"
_TABLES: Final = frozenset((GROUPS_TABLE, "labels.csv"))


@dataclass(frozen=True)
class Left:
    """A file that is left out, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Listing:
    """The files to train on, before any of them has been opened.

    Attributes:
        source: Where to read them.
        labels: Class names, sorted; a class's index is its place here.
        names: Names of the pictures, sorted.
        classes: Class index of each picture.
        groups: Name of what a picture shares with others (a person, a film), where known.
        left: Files that are no pictures.
    """

    source: Source
    labels: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    groups: Mapping[str, str]
    left: tuple[Left, ...]


def scan(source: Source, *, groups: Path | None = None, pattern: str | None = None) -> Listing:
    """List the pictures of a folder-per-class data set.

    Args:
        source: The folder or zip file.
        groups: A table with columns file and group; default is `groups.csv` in the root.
        pattern: A regular expression whose first bracket, found in a picture's name, is its group.

    Raises:
        TooFewClasses: Fewer than two folders hold pictures.
        BadTable: The table of groups, or the pattern, is not as documented.
    """
    names = source.names()
    root = _root(names)
    pictures: list[tuple[str, str]] = []  # (name, class)
    left: list[Left] = []
    for name in names:
        parts = PurePosixPath(name).relative_to(root).parts if name.startswith(root) else ()
        why = _why_left(name, parts)
        if why is None:
            pictures.append((name, parts[0]))
        elif why:
            left.append(Left(name, why))
    labels = tuple(sorted({label for _, label in pictures}))
    if len(labels) < 2:
        found = f"only {labels[0]!r} has" if labels else "none has"
        raise TooFewClasses(
            f"{source.path}: two folders of pictures or more are needed, one a class; {found} any."
        )
    chosen = tuple(name for name, _ in pictures)
    return Listing(
        source=source,
        labels=labels,
        names=chosen,
        classes=tuple(labels.index(label) for _, label in pictures),
        groups=_groups(source, root, names, chosen, table=groups, pattern=pattern),
        left=tuple(left),
    )


def _root(names: list[str]) -> str:
    """What stands before the class folders: "" or, in many archives, one folder around all."""
    visible = [PurePosixPath(name) for name in names if not _hidden(PurePosixPath(name).parts)]
    tops = {path.parts[0] for path in visible if len(path.parts) > 1}
    loose = any(len(path.parts) == 1 and is_picture(path) for path in visible)
    if len(tops) != 1 or loose:
        return ""
    top = tops.pop()
    inside = [path.relative_to(top) for path in visible if len(path.parts) > 1]
    if any(len(path.parts) == 1 and is_picture(path) for path in inside):
        return ""  # pictures right in it: it is the one class that there is
    return f"{top}/"


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in parts)


def visible_names(source: Source) -> list[str]:
    """A source's files without those that are hidden or made by the system."""
    return [name for name in source.names() if not _hidden(PurePosixPath(name).parts)]


def is_picture(path: PurePosixPath) -> bool:
    """Whether a file is worth opening as a picture, by its name."""
    # Files without a suffix are tried: cameras and crawlers leave such.
    return path.suffix.lower() in _PICTURE_SUFFIXES or path.suffix == ""


def _why_left(name: str, parts: tuple[str, ...]) -> str | None:
    """Why a file is no picture to train on; "" if that is not worth a word, None if it is one."""
    path = PurePosixPath(name)
    if _hidden(path.parts) or path.name.lower() in _SYSTEM_FILES:
        return "hidden or made by the system"
    if len(parts) <= 1:
        return "" if path.name in _TABLES else "in no class folder"
    return None if is_picture(path) else f"no picture by its name ({path.suffix})"


def _groups(
    source: Source,
    root: str,
    names: list[str],
    pictures: tuple[str, ...],
    *,
    table: Path | None,
    pattern: str | None,
) -> dict[str, str]:
    """Group names by picture, from a pattern, a given table, or the table beside the data."""
    if pattern is not None:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise BadTable(
                f"--group-pattern {pattern!r} is no regular expression: {error}."
            ) from error
        if expression.groups < 1:
            raise BadTable(f"--group-pattern {pattern!r} has no (bracket) around the group's name.")
        matches = ((name, expression.search(name)) for name in pictures)
        return {name: match[1] for name, match in matches if match and match[1]}
    if table is not None:
        try:
            rows = read_table(table.read_bytes(), str(table), ("file", "group"))
        except OSError as error:
            raise BadTable(f"{table} cannot be read ({error.strerror}).") from error
    elif root + GROUPS_TABLE in names:
        where = f"{source.path}/{root}{GROUPS_TABLE}"
        try:
            rows = read_table(source.read(root + GROUPS_TABLE), where, ("file", "group"))
        except OSError as error:
            raise BadTable(f"{where} cannot be read ({error}).") from error
    else:
        return {}
    known = set(pictures)
    # Rows about files that are gone are no error: people delete pictures and keep tables.
    return {root + file: group for file, group in rows if root + file in known and group}


def read_table(data: bytes, where: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Read the named columns of a CSV file with a header.

    Raises:
        BadTable: It is not UTF-8 or not CSV, or a column or a cell is missing.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTable(f"{where} is not UTF-8 text.") from error
    reader = csv.DictReader(io.StringIO(text))
    try:
        header, table = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise BadTable(f"{where} is no CSV file ({error}).") from error
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
