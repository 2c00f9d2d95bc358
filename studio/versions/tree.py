"""The files of a version: one folder per class, with labels.csv and groups.csv.

    mask/a.jpg            pictures below the folder of their label
    mask/b.jpg            one that is left out, if its class has others; labels.csv says "-"
    labels.csv            file,label of the pictures whose label was decided on, or left out:
                          training takes it as confirmed
    groups.csv            file,group of those that have one
    c.jpg                 one without a label: in exports only

The tree depends on the manifest alone: the same version gives the same names.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from studio.pictures.csv_tables import write_table
from studio.projects.classes import LEFT_OUT
from studio.versions.manifest import Entry, Manifest

_MAX_PART_BYTES: Final = 200  # of a file's or folder's name; most file systems take 255


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
    taken: set[str] = set()
    split = with_tests and any(one.test_set for one in entries)
    for one in entries:
        folders = []
        if split:
            folders.append(one.test_set or "train")
        if one.label is not None and (one.label in used or one.test_set):
            folders.append(one.label)
        path = _unique("/".join([*folders, _short(one.name, one.sha256)]), taken)
        tree.files[path] = one.sha256
        if one.left_out or (one.decided and one.label is not None):
            tree.labels.append((path, LEFT_OUT if one.left_out else str(one.label)))
        if one.group is not None:
            tree.groups.append((path, one.group))
    tree.files = dict(sorted(tree.files.items()))
    tree.labels.sort()
    tree.groups.sort()
    return tree


def _short(name: str, sha256: str) -> str:
    """Return a name whose parts are not too long, and none is hidden or leads elsewhere."""
    parts = [part for part in name.split("/") if part.strip(".")] or [sha256[:16]]
    suffix = PurePosixPath(parts[-1]).suffix[:16]
    shortened = [
        part.lstrip(".") if len(part.encode()) <= _MAX_PART_BYTES else f"{part[:40]}~{sha256[:16]}"
        for part in parts
    ]
    if shortened[-1] != parts[-1].lstrip("."):
        shortened[-1] += suffix
    return "/".join(shortened)


def _unique(path: str, taken: set[str]) -> str:
    """Return a path with a number if another file has it, also where case does not count."""
    stem, suffix = PurePosixPath(path).with_suffix("").as_posix(), PurePosixPath(path).suffix
    unique, number = path, 1
    while unique.casefold() in taken:
        number += 1
        unique = f"{stem} ({number}){suffix}"
    taken.add(unique.casefold())
    return unique
