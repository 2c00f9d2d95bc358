"""The files of a version: one folder per class, with labels.csv and groups.csv.

    mask/a.jpg            pictures below the folder of their label
    mask/b.jpg            one that is left out, if its class has others; labels.csv has "-"
    labels.csv            file,label of the pictures whose label was decided on, or left out:
                          training takes it as confirmed
    groups.csv            file,group of those that have one
    c.jpg                 one without a label: in exports only
    mask/a~0123456789abcdef.jpg   one whose name is taken, or invalid on other systems

The tree depends on the manifest alone: the same version gives the same names.
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from studio.pictures.csv_tables import write_table
from studio.projects.classes import LEFT_OUT
from studio.versions.manifest import Entry, Manifest

DIGITS: Final = 16
"""Digits of a picture's digest in its name, behind a `~`, where it cannot have its own name."""

_MAX_PART_BYTES: Final = 200  # per name of a file or folder; most file systems allow 255
_MAX_STEM_CHARS: Final = 40
_MAX_SUFFIX_CHARS: Final = 16
# On Windows; there a backslash would point outside the folder.
_NOT_PORTABLE: Final = re.compile(r'[\\:*?"<>|]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)


@dataclass
class Tree:
    """Names of files.

    Attributes:
        files: Digest by path.
        labels: Rows of labels.csv.
        groups: Rows of groups.csv.
    """

    files: dict[str, str] = field(default_factory=dict)
    labels: list[tuple[str, str]] = field(default_factory=list)
    groups: list[tuple[str, str]] = field(default_factory=list)

    def tables(self) -> dict[str, bytes]:
        """Return the content of labels.csv and of groups.csv, of those that have rows."""
        tables = {}
        if self.labels:
            tables["labels.csv"] = write_table("labels", self.labels)
        if self.groups:
            tables["groups.csv"] = write_table("groups", self.groups)
        return tables


def training_tree(manifest: Manifest) -> Tree:
    """Return the files that a version is trained on, and those that it leaves out by labels.csv."""
    used = {one.label for one in manifest.entries if one.is_trained_on}
    return _tree(
        [one for one in manifest.entries if one.test_set is None and one.label in used], used
    )


def test_trees(manifest: Manifest) -> dict[str, Tree]:
    """Return the labelled files of each frozen test set, by its name."""
    names = sorted({one.test_set for one in manifest.entries if one.test_set})
    trees = {}
    for name in names:
        held = [
            one
            for one in manifest.entries
            if one.test_set == name and one.label is not None and not one.left_out
        ]
        trees[name] = _tree(held, {one.label for one in held})
    return trees


def export_tree(manifest: Manifest) -> Tree:
    """Return all files of a version; those of test sets below `test/`, if there are any."""
    used = {one.label for one in manifest.entries if one.is_trained_on}
    return _tree(manifest.entries, used, with_tests=True)


def _tree(
    entries: tuple[Entry, ...] | list[Entry],
    used: Container[str | None],
    *,
    with_tests: bool = False,
) -> Tree:
    tree = Tree()
    split = with_tests and any(one.test_set for one in entries)
    folders = {}
    for one in entries:
        top = f"{one.test_set or 'train'}/" if split else ""
        is_labelled = one.label is not None and (one.label in used or one.test_set)
        folders[one.sha256] = f"{top}{one.label}/" if is_labelled else top
    names = _Names(folder.removesuffix("/") for folder in folders.values() if folder)
    for one in entries:
        path = names.take(folders[one.sha256], one.name, one.sha256)
        tree.files[path] = one.sha256
        if one.left_out or (one.decided and one.label is not None):
            tree.labels.append((path, LEFT_OUT if one.left_out else str(one.label)))
        if one.group is not None:
            tree.groups.append((path, one.group))
    tree.files = dict(sorted(tree.files.items()))
    tree.labels.sort()
    tree.groups.sort()
    return tree


class _Names:
    """The names that are taken in one tree, also where case does not count."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._files: set[str] = set()
        self._folders = {folder.casefold() for folder in folders}

    def take(self, folder: str, name: str, sha256: str) -> str:
        """Return the path of a picture in its folder.

        The path contains the digest if the picture's own path is taken by another file or folder,
        or has a part that is not a valid name on every system.
        """
        whole = f"{folder}{_portable(name)}"
        if whole != f"{folder}{name}" or self._is_taken(whole):
            stem = PurePosixPath(whole.removeprefix(folder)).stem[:_MAX_STEM_CHARS]
            suffix = _portable(f"_{PurePosixPath(name).suffix[:_MAX_SUFFIX_CHARS]}")[1:]
            whole = f"{folder}{stem}~{sha256[:DIGITS]}{suffix}"
        key = whole.casefold()
        self._files.add(key)
        self._folders |= set(_parents(key))
        return whole

    def _is_taken(self, path: str) -> bool:
        key = path.casefold()
        return (
            key in self._files
            or key in self._folders
            or any(parent in self._files for parent in _parents(key))
        )


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _portable(name: str) -> str:
    """Return a name whose parts are names on every system: not hidden, reserved or too long."""
    parts = [_NOT_PORTABLE.sub("_", part).lstrip(".").rstrip(". ") for part in name.split("/")]
    return "/".join(
        part if len(part.encode()) <= _MAX_PART_BYTES else part[:_MAX_STEM_CHARS]
        for part in (f"_{part}" if _RESERVED.match(part) else part for part in parts)
        if part
    )
