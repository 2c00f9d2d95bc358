"""Checks of the class folders: splits instead of classes, and names that cannot be labels."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from models.layout.labels import MAX_LABEL_CHARS, RESERVED_LABELS, label_key, split_kind
from models.text import REPLACEMENT, normalize_name
from training.errors import BadLayout

_DETECTION_FOLDERS: Final = frozenset(("images", "labels", "annotations"))


def check_layout(path: Path, root: str, pictures: Sequence[str]) -> None:
    """Refuse a data set whose top folders are splits instead of classes.

    Args:
        path: The data set, for the message.
        root: Prefix of the names.
        pictures: Names of files below top folders.

    Raises:
        BadLayout: All top folders are splits, or some have the same folders below.
    """
    inner: dict[str, set[str]] = defaultdict(set)
    for name in pictures:
        parts = PurePosixPath(name.removeprefix(root)).parts
        inner[parts[0]] |= {label_key(part) for part in parts[1:-1][:1]}
    splits = {top: kind for top in sorted(inner) if (kind := split_kind(top))}
    below = [inner[top] for top in splits]
    shared = len(below) > 1 and len(set.intersection(*below)) > 1
    if len(splits) < 2 or (len(splits) < len(inner) and not shared):
        return
    tops = ", ".join(splits)
    if all(folders and folders <= _DETECTION_FOLDERS for folders in below):
        raise BadLayout(
            f"{path}: {tops} are splits of a data set for object detection, which has no folder "
            "per class: sort the pictures into one folder per class."
        )
    train = next((top for top in splits if splits[top] == "train"), next(iter(splits)))
    tests = [top for top in splits if top != train]
    base = path / root
    where = f"unpack it to FOLDER, and run python -m training fit FOLDER/{root}{train}"
    folder = f"FOLDER/{root}"
    if path.is_dir():
        where, folder = f"run python -m training fit {base / train}", f"{base}/"
    options = "".join(f" --test {folder}{top}" for top in reversed(tests) if inner[top])
    raise BadLayout(f"{path}: {tops} are splits, not classes: {where}{options}.")


def check_labels(path: Path, folders: Collection[str]) -> None:
    """Refuse class folders whose names cannot be labels.

    Raises:
        BadLayout: A name is reserved, is not valid text, or differs from another only in spelling.
    """
    seen: dict[str, str] = {}
    for folder in sorted(folders):
        label = normalize_name(folder)
        key = label_key(folder)
        if REPLACEMENT in folder:
            raise BadLayout(
                f"{path}: the name of the class folder {folder!r} is not UTF-8, or has characters "
                "that cannot be seen: rename it; of a zip file, pack it again with UTF-8 names."
            )
        if key in RESERVED_LABELS:
            raise BadLayout(
                f"{path}: no class can be called {label!r}, because {RESERVED_LABELS[key]}: rename "
                "the folder."
            )
        if not label or len(label) > MAX_LABEL_CHARS:
            raise BadLayout(
                f"{path}: the name of the class folder {folder!r} is not a label: 1 to "
                f"{MAX_LABEL_CHARS} characters are needed."
            )
        if key in seen:
            raise BadLayout(
                f"{path}: the class folders {seen[key]!r} and {folder!r} differ in spelling only: "
                "make them one, or rename one."
            )
        seen[key] = folder
