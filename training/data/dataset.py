"""Listing of a data set: which files are pictures of which class, and which are skipped.

A picture's class is the folder right below the root that contains it, at any depth. Hidden
files and folders, and files without a picture's suffix, are skipped and reported.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from models.layout.files import is_picture, other_file_reason, picture_stems
from models.text import normalize_name
from training.data.names.classes import check_labels, check_layout
from training.data.source import SkippedFile, Source
from training.data.tables import LABELS_TABLE, TABLES, Tables, UnmatchedRows, groups_by_pattern
from training.errors import TooFewClasses

FOLDER_ATTRIBUTE: Final = "folder"
"""Slice attribute that is given by the folders below a class folder."""

_OF_CORRECTIONS: Final = ("corrections.csv", "README.txt")  # in the service page's corrections.zip
EXCLUDED_BY_TABLE: Final = f"by {LABELS_TABLE}"
"""Reason of files that labels.csv excludes."""


@dataclass(frozen=True)
class Listing:
    """The files to train on, before any of them is opened.

    Attributes:
        source: Where to read them.
        labels: Class names, sorted; position k is class index k.
        names: File names of the pictures, sorted.
        classes: Class index of each picture.
        groups: Group name (a person, a video) by file name, where known.
        skipped: Files that are not pictures, or that labels.csv excludes.
        corrected: The folder's class of each picture that labels.csv gives another.
        slices: By attribute, the slice of each picture that has one: from slices.csv, and
            `folder`, the folder below the class folder.
        unmatched: Rows of the tables that name no picture.
        decided: Label by picture as labels.csv gives it, None for an excluded picture: a person
            has looked at these.
    """

    source: Source
    labels: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    groups: Mapping[str, str]
    skipped: tuple[SkippedFile, ...]
    corrected: Mapping[str, str]
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unmatched: tuple[UnmatchedRows, ...] = ()
    decided: Mapping[str, str | None] = field(default_factory=dict)

    def names_of(self, class_index: int) -> list[str]:
        """Return the file names of one class."""
        return [name for name, k in zip(self.names, self.classes, strict=True) if k == class_index]


def scan(source: Source, *, groups: Path | None = None, pattern: str | None = None) -> Listing:
    """List the pictures of a folder-per-class data set.

    Args:
        source: The folder or zip file.
        groups: A table with columns file and group; default is `groups.csv` in the root.
        pattern: A regular expression; its first capture group in a file name is the picture's
            group.

    Raises:
        BadLayout: The folders are not classes, or their names cannot be labels.
        TooFewClasses: Fewer than two folders hold pictures.
        BadTable: A table, or the pattern, is not as documented.
    """
    names = source.names()
    root = _find_root(names)
    folder_labels: dict[str, str] = {}  # by name of picture
    skipped = list(source.skipped)
    stems = picture_stems(names)
    for name in names:
        parts = PurePosixPath(name.removeprefix(root)).parts if name.startswith(root) else ()
        reason = _skip_reason(name, parts, stems)
        if reason is None:
            folder_labels[name] = parts[0]
        elif reason:
            skipped.append(SkippedFile(name, reason))
    check_layout(source.path, root, list(folder_labels))
    check_labels(source.path, set(folder_labels.values()))
    folder_labels = {name: normalize_name(folder) for name, folder in folder_labels.items()}
    labels = tuple(sorted(set(folder_labels.values())))
    if len(labels) < 2:
        raise TooFewClasses(_too_few_classes(source, labels, skipped))
    pictures = list(folder_labels)
    tables = Tables(source, root, pictures)
    corrections = tables.corrections(labels)
    skipped += [SkippedFile(name, EXCLUDED_BY_TABLE) for name, to in corrections.items() if not to]
    final = {
        name: label
        for name, given in folder_labels.items()
        if (label := corrections.get(name, given)) is not None
    }
    # Tables are matched with all pictures: one about excluded pictures only is not wrong.
    grouped = groups_by_pattern(pattern, pictures) if pattern else tables.groups(groups)
    slices = _subfolder_slices(root, pictures) | tables.slices()
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
        slices=slices,
        unmatched=tuple(tables.unmatched),
        decided=corrections,
    )


def _subfolder_slices(root: str, pictures: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the slices given by the folders below the class folders."""
    subfolders = {
        name: parts[1]
        for name in pictures
        if len(parts := PurePosixPath(name.removeprefix(root)).parts) > 2
    }
    return {FOLDER_ATTRIBUTE: subfolders} if subfolders else {}


def _find_root(names: Sequence[str]) -> str:
    """Return the prefix of all class folders: "" or, in many archives, one folder around all."""
    paths = [PurePosixPath(name) for name in names]
    tops = {path.parts[0] for path in paths if len(path.parts) > 1}
    loose = any(len(path.parts) == 1 and is_picture(path) for path in paths)
    if len(tops) != 1 or loose:
        return ""
    top = tops.pop()
    inside = [path.relative_to(top) for path in paths if len(path.parts) > 1]
    if any(len(path.parts) == 1 and is_picture(path) for path in inside):
        return ""  # it holds pictures itself: it is the only class
    return f"{top}/"


def _too_few_classes(source: Source, labels: Sequence[str], skipped: Sequence[SkippedFile]) -> str:
    """Return the sentence about a data set of fewer than two classes, and what is left out."""
    found = f"only {labels[0]!r} has" if labels else "none has"
    rest = ""
    if skipped:
        rest = f" {len(skipped):,} left out, the first {skipped[0].name}: {skipped[0].reason}."
    return (
        f"{source.path}: two folders of pictures or more are needed, one per class; "
        f"{found} any.{rest}"
    )


def _skip_reason(name: str, parts: tuple[str, ...], stems: Container[str]) -> str | None:
    """Return the reason to skip a file; "" to skip it silently, None for a picture."""
    path = PurePosixPath(name)
    if len(parts) <= 1:
        # A table outside the folder that contains all classes is not read, and is reported.
        if parts and path.name in (*TABLES, *_OF_CORRECTIONS):
            return ""
        if parts and path.name.casefold() in TABLES:
            return f"not read: a table must be called {path.name.casefold()}"
        return "in no class folder"
    return None if is_picture(path) else other_file_reason(path, stems)
