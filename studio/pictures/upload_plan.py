"""The plan of a drop of files: pictures, their labels by folder, splits, and refused files.

pictures/mask/a.jpg     label mask; the folder around all classes does not count
mask/2024/a.jpg         label mask: a class folder holds its pictures at any depth
a.jpg                   no label
train/mask/a.jpg        label mask, if train/ and test/ are splits of the same classes
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from models.layout.files import SYSTEM_REASON, is_picture, system_part
from models.layout.labels import label_key, split_kind
from models.text import clean, normalize_path
from studio.problems import BadName
from studio.projects.names import checked_label

Layout = Literal["classes", "split", "flat"]
Split = Literal["train", "merge", "keep-test"]

TABLES: Final = ("labels.csv", "groups.csv")
_OTHER_TABLES: Final = ("slices.csv",)
_MAX_WRAPPERS: Final = 3  # folders around the class folders


@dataclass(frozen=True)
class PlannedFile:
    """One picture of a drop.

    Attributes:
        path: As given, in normal spelling.
        name: Path below the class folder.
        label: Name of its class, None without one.
        test_set: Name of the split that contains it, if that is not for training.
    """

    path: str
    name: str
    label: str | None
    test_set: str | None = None


@dataclass(frozen=True)
class Plan:
    """Interpretation of a drop of files.

    Attributes:
        layout: Kind of the folders: classes, splits of classes, or no folders.
        root: Prefix of the class folders or splits.
        files: The pictures by path as given.
        refused: Reason by path, of files that are not pictures.
        tables: Paths of labels.csv and groups.csv.
        train: Folders for training, where splits are recognised.
        test: Folders for tests, likewise.
    """

    layout: Layout
    root: str
    files: Mapping[str, PlannedFile]
    refused: Mapping[str, str]
    tables: Sequence[str]
    train: Sequence[str] = ()
    test: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the page reads it."""
        counts: dict[str, int] = defaultdict(int)
        for file in self.files.values():
            if file.label is not None:
                counts[file.label] += 1
        split = {"train": list(self.train), "test": list(self.test)}
        return {
            "layout": self.layout,
            "split": split if self.layout == "split" else None,
            "labels": {path: file.label for path, file in self.files.items()},
            "classes": [{"name": name, "pictures": counts[name]} for name in sorted(counts)],
            "refused": [{"path": clean(p), "reason": reason} for p, reason in self.refused.items()],
            "tables": list(self.tables),
        }


@dataclass
class SortedPaths:
    """Paths of a drop, sorted by their names.

    Attributes:
        pictures: Path in one spelling, by path as given.
        refused: Reason by path as given.
        tables: Paths of labels.csv and groups.csv, as given.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)


def plan_upload(
    paths: Iterable[str], *, classes: Iterable[str] = (), split: Split | None = None
) -> Plan:
    """Interpret a drop of files, from their paths alone.

    Args:
        paths: Relative paths with slashes, hidden files among them.
        classes: The project's classes: a folder of such a name is one.
        split: What to do with splits: `train` leaves the test folders out, `merge` makes all of
            them training pictures, `keep-test` makes the test folders frozen test sets.
    """
    found = sort_paths(paths)
    known = {label_key(name) for name in classes}
    root = _root(list(found.pictures.values()), known)
    splits = _splits([path.removeprefix(root) for path in found.pictures.values()])
    files: dict[str, PlannedFile] = {}
    for given, path in found.pictures.items():
        parts = path.removeprefix(root).split("/") if path.startswith(root) else [path]
        test_set = None
        if splits and parts[0] in splits and len(parts) > 1:
            kind = splits[parts[0]]
            if kind == "test" and split in (None, "train"):
                if split == "train":
                    found.refused[given] = f"left out: {parts[0]} is not for training"
                    continue
            elif kind == "test" and split == "keep-test":
                test_set = parts[0]
            parts = parts[1:]
        label, name = (parts[0], "/".join(parts[1:])) if len(parts) > 1 else (None, parts[0])
        if label is not None:
            try:
                label = checked_label(label)
            except BadName as error:
                found.refused[given] = str(error)
                continue
        files[given] = PlannedFile(path, clean(name), label, test_set)
    layout: Layout = "flat"
    if splits:
        layout = "split"
    elif any(file.label for file in files.values()):
        layout = "classes"
    return Plan(
        layout,
        root,
        files,
        found.refused,
        found.tables,
        train=[f"{root}{top}" for top, kind in splits.items() if kind == "train"],
        test=[f"{root}{top}" for top, kind in splits.items() if kind == "test"],
    )


def sort_paths(paths: Iterable[str]) -> SortedPaths:
    """Sort paths into pictures, tables, system files and other files, by their names."""
    found = SortedPaths()
    for given in paths:
        try:
            path = normalize_path(given, backslashes="\\" in given and "/" not in given)
        except ValueError:
            found.refused[given] = "its name leads out of the folder"
            continue
        name = path.rsplit("/", 1)[-1]
        suffix = PurePosixPath(path).suffix
        if not path:
            found.refused[given] = "it has no name"
        elif system_part(path):
            found.refused[given] = SYSTEM_REASON
        elif name.casefold() in TABLES:
            found.tables.append(given)
        elif name.casefold() in _OTHER_TABLES:
            found.refused[given] = "the studio does not read this table"
        elif not is_picture(PurePosixPath(path)):
            found.refused[given] = f"not a picture by its name ({clean(suffix)})"
        else:
            found.pictures[given] = path
    return found


def file_in_batch(given: str, path: str, label: str | None, split: Split | None) -> PlannedFile:
    """Return a picture of a batch whose drop was planned before.

    Args:
        given: Path as given.
        path: Path in one spelling.
        label: The label that the plan gave it.
        split: The answer to the question about splits; None if there are none.
    """
    parts = path.split("/")
    start, top = 0, None
    folders = [label_key(part) for part in parts[:-1]]
    if label is not None and label_key(label) in folders:
        places = [n for n, folder in enumerate(folders) if folder == label_key(label)]
        # Below a split, if the folder above is one: `mask/train/mask/a.jpg`.
        place = next((n for n in places if split and n and split_kind(parts[n - 1])), places[0])
        start, top = place + 1, parts[place - 1] if place else None
    elif split and label is None:
        top = next((part for part in parts[:-1] if split_kind(part)), None)
    is_test = split is not None and top is not None and split_kind(top) == "test"
    name = clean("/".join(parts[start:]))
    return PlannedFile(given, name, label, top if is_test and split != "merge" else None)


def _root(paths: Sequence[str], known: set[str]) -> str:
    """Return the prefix of the class folders: "", or the folders around all of them."""
    root = ""
    for _ in range(_MAX_WRAPPERS):
        inside = [path.removeprefix(root) for path in paths if path.startswith(root)]
        tops = {path.split("/")[0] for path in inside if "/" in path}
        if len(tops) != 1 or any("/" not in path for path in inside):
            break
        top = tops.pop()
        below = [path.removeprefix(f"{top}/") for path in inside]
        folders = {path.split("/")[0] for path in below if "/" in path}
        loose = sum("/" not in path for path in below)
        is_class = label_key(top) in known or (loose and len(folders) < 2)
        # A second wrapper needs two folders inside: `pictures/mask/2024/` is one class.
        if is_class or (root and len(folders) < 2) or not folders:
            break
        root += f"{top}/"
    return root


def _splits(paths: Sequence[str]) -> dict[str, str]:
    """Return the kind of each top folder that is a split, if the folders are splits."""
    inner: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        parts = path.split("/")
        if len(parts) > 1:
            inner[parts[0]] |= {label_key(part) for part in parts[1:-1][:1]}
    splits = {top: kind for top in sorted(inner) if (kind := split_kind(top))}
    below = [inner[top] for top in splits]
    shared = len(below) > 1 and len(set.intersection(*below)) > 1
    if len(splits) < 2 or (len(splits) < len(inner) and not shared):
        return {}
    return splits
