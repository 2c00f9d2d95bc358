"""From files to a labelled listing: which file is a picture of which class, and which is not.

A picture's class is the folder right below the root that it lies in, however deep. Hidden
files and folders, and files that are no pictures by name, are left out and named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from training.data.source import Source
from training.data.tables import (
    GROUPS_TABLE,
    LABELS_TABLE,
    SLICES_TABLE,
    groups_by_pattern,
    read_given_groups,
    read_groups,
    read_labels,
    read_slices,
)
from training.errors import TooFewClasses

_PICTURE_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
)
FOLDER: Final = "folder"
"""The attribute of slices that folders below a class's folder give."""

# Folders that operating systems and storage boxes add to copies and archives.
_SYSTEM_FOLDERS: Final = frozenset(("__MACOSX", "@eaDir", "System Volume Information"))
_SYSTEM_FILES: Final = frozenset(("thumbs.db", "desktop.ini"))


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
        left: Files that are no pictures, or that labels.csv leaves out.
        corrected: The folder's class of each picture that labels.csv gives another.
        slices: By attribute, the slice of each picture that has one: of slices.csv, and `folder`,
            the folder below the class's.
    """

    source: Source
    labels: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    groups: Mapping[str, str]
    left: tuple[Left, ...]
    corrected: Mapping[str, str]
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def scan(source: Source, *, groups: Path | None = None, pattern: str | None = None) -> Listing:
    """List the pictures of a folder-per-class data set.

    Args:
        source: The folder or zip file.
        groups: A table with columns file and group; default is `groups.csv` in the root.
        pattern: A regular expression whose first bracket, found in a picture's name, is its group.

    Raises:
        TooFewClasses: Fewer than two folders hold pictures.
        BadTable: A table, or the pattern, is not as documented.
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
    folder = dict(pictures)
    corrections = read_labels(source, root, list(folder), labels)
    left += [Left(name, f"by {LABELS_TABLE}") for name, to in corrections.items() if to is None]
    final = {
        name: label
        for name, given in pictures
        if (label := corrections.get(name, given)) is not None
    }
    chosen = tuple(final)
    # Looked up among all pictures: a table about nothing but left-out ones is no wrong table.
    if pattern is not None:
        grouped = groups_by_pattern(pattern, list(folder))
    elif groups is not None:
        grouped = read_given_groups(groups, root, list(folder))
    else:
        grouped = read_groups(source, root, list(folder))
    return Listing(
        source=source,
        labels=labels,
        names=chosen,
        classes=tuple(labels.index(final[name]) for name in chosen),
        groups={name: group for name, group in grouped.items() if name in final},
        left=tuple(left),
        corrected={name: folder[name] for name in chosen if final[name] != folder[name]},
        slices=_slices(source, root, list(folder)),
    )


def _slices(source: Source, root: str, pictures: list[str]) -> dict[str, dict[str, str]]:
    """Of slices.csv, and of folders below the classes' unless it has an attribute of that name."""
    inner = {
        name: parts[1]
        for name in pictures
        if len(parts := PurePosixPath(name).relative_to(root).parts) > 2
    }
    return ({FOLDER: inner} if inner else {}) | read_slices(source, root, pictures)


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
        # A table outside the folder that is around all classes is not read, and is named.
        read = parts and path.name in (GROUPS_TABLE, LABELS_TABLE, SLICES_TABLE)
        return "" if read else "in no class folder"
    return None if is_picture(path) else f"no picture by its name ({path.suffix})"
