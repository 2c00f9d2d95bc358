"""Listing of a data set: which files are pictures of which class, and which are skipped.

A picture's class is the folder right below the root that contains it, at any depth. Hidden
files and folders, and files without a picture's suffix, are skipped and reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from training.data.source import Source
from training.data.tables import (
    GROUPS_TABLE,
    LABELS_TABLE,
    SLICES_TABLE,
    groups_by_pattern,
    read_groups,
    read_groups_file,
    read_labels,
    read_slices,
)
from training.errors import TooFewClasses

_PICTURE_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
)
FOLDER_ATTRIBUTE: Final = "folder"
"""Slice attribute that is given by the folders below a class folder."""

EXCLUDED_BY_TABLE: Final = f"by {LABELS_TABLE}"
"""Reason of files that labels.csv excludes."""

# Folders that operating systems and network storage add to copies and archives.
_SYSTEM_FOLDERS: Final = frozenset(("__MACOSX", "@eaDir", "System Volume Information"))
_SYSTEM_FILES: Final = frozenset(("thumbs.db", "desktop.ini"))


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not trained on, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The files to train on, before any of them is opened.

    Attributes:
        source: Where to read them.
        labels: Class names, sorted; position k is class index k.
        names: File names of the pictures, sorted.
        classes: Class index of each picture.
        groups: By file name, what a picture shares with others (a person, a film), where known.
        skipped: Files that are no pictures, or that labels.csv excludes.
        corrected: The folder's class of each picture that labels.csv gives another.
        slices: By attribute, the slice of each picture that has one: from slices.csv, and
            `folder`, the folder below the class folder.
    """

    source: Source
    labels: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    groups: Mapping[str, str]
    skipped: tuple[SkippedFile, ...]
    corrected: Mapping[str, str]
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def scan(source: Source, *, groups: Path | None = None, pattern: str | None = None) -> Listing:
    """List the pictures of a folder-per-class data set.

    Args:
        source: The folder or zip file.
        groups: A table with columns file and group; default is `groups.csv` in the root.
        pattern: A regular expression; its first capture group in a file name is the picture's
            group.

    Raises:
        TooFewClasses: Fewer than two folders hold pictures.
        BadTable: A table, or the pattern, is not as documented.
    """
    names = source.names()
    root = _find_root(names)
    folder_labels: dict[str, str] = {}  # by name of picture
    skipped: list[SkippedFile] = []
    for name in names:
        parts = PurePosixPath(name).relative_to(root).parts if name.startswith(root) else ()
        reason = _skip_reason(name, parts)
        if reason is None:
            folder_labels[name] = parts[0]
        elif reason:
            skipped.append(SkippedFile(name, reason))
    labels = tuple(sorted(set(folder_labels.values())))
    if len(labels) < 2:
        found = f"only {labels[0]!r} has" if labels else "none has"
        raise TooFewClasses(
            f"{source.path}: two folders of pictures or more are needed, one per class; "
            f"{found} any."
        )
    pictures = list(folder_labels)
    corrections = read_labels(source, root, pictures, labels)
    skipped += [SkippedFile(name, EXCLUDED_BY_TABLE) for name, to in corrections.items() if not to]
    final = {
        name: label
        for name, given in folder_labels.items()
        if (label := corrections.get(name, given)) is not None
    }
    # Tables are matched with all pictures: one about excluded pictures only is not wrong.
    if pattern is not None:
        grouped = groups_by_pattern(pattern, pictures)
    elif groups is not None:
        grouped = read_groups_file(groups, root, pictures)
    else:
        grouped = read_groups(source, root, pictures)
    return Listing(
        source=source,
        labels=labels,
        names=tuple(final),
        classes=tuple(labels.index(label) for label in final.values()),
        groups={name: group for name, group in grouped.items() if name in final},
        skipped=tuple(skipped),
        corrected={
            name: folder_labels[name] for name in final if final[name] != folder_labels[name]
        },
        slices=_find_slices(source, root, pictures),
    )


def visible_names(source: Source) -> list[str]:
    """Return a source's file names without hidden and system files."""
    return [name for name in source.names() if not _is_hidden(PurePosixPath(name).parts)]


def is_picture(path: PurePosixPath) -> bool:
    """Return True if a file's name suggests a picture."""
    # Files without a suffix are tried: cameras and crawlers write such.
    return path.suffix.lower() in _PICTURE_SUFFIXES or path.suffix == ""


def _find_slices(source: Source, root: str, pictures: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the slices of slices.csv and, unless it has the attribute `folder`, of subfolders."""
    subfolders = {
        name: parts[1]
        for name in pictures
        if len(parts := PurePosixPath(name).relative_to(root).parts) > 2
    }
    return ({FOLDER_ATTRIBUTE: subfolders} if subfolders else {}) | read_slices(
        source, root, pictures
    )


def _find_root(names: Sequence[str]) -> str:
    """Return the prefix of all class folders: "" or, in many archives, one folder around all."""
    visible = [PurePosixPath(name) for name in names if not _is_hidden(PurePosixPath(name).parts)]
    tops = {path.parts[0] for path in visible if len(path.parts) > 1}
    loose = any(len(path.parts) == 1 and is_picture(path) for path in visible)
    if len(tops) != 1 or loose:
        return ""
    top = tops.pop()
    inside = [path.relative_to(top) for path in visible if len(path.parts) > 1]
    if any(len(path.parts) == 1 and is_picture(path) for path in inside):
        return ""  # it holds pictures itself: it is the only class
    return f"{top}/"


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in parts)


def _skip_reason(name: str, parts: tuple[str, ...]) -> str | None:
    """Return the reason to skip a file; "" to skip it silently, None for a picture."""
    path = PurePosixPath(name)
    if _is_hidden(path.parts) or path.name.lower() in _SYSTEM_FILES:
        return "hidden or made by the system"
    if len(parts) <= 1:
        # A table outside the folder that contains all classes is not read, and is reported.
        read = parts and path.name in (GROUPS_TABLE, LABELS_TABLE, SLICES_TABLE)
        return "" if read else "in no class folder"
    return None if is_picture(path) else f"no picture by its name ({path.suffix})"
