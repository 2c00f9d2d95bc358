"""Holdout sets: labelled pictures, kept apart from training, that a finished model is tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from models.layout.files import is_picture, other_file_reason, picture_stems
from models.layout.labels import label_key
from models.text import normalize_name
from training.data.dataset import FOLDER_ATTRIBUTE
from training.data.source import SkippedFile, Source, open_source
from training.data.tables import (
    GROUPS_TABLE,
    SLICES_TABLE,
    Tables,
    UnmatchedRows,
    groups_by_pattern,
)
from training.errors import TooFewPictures


@dataclass(frozen=True)
class HoldoutSet:
    """Pictures of known classes, not opened yet.

    Attributes:
        source: Where to read them.
        names: (n) file names.
        classes: int64 (n,) indices into the model's labels.
        slices: By attribute, the slice of each picture, or "": the folder below the class's, and
            the attributes of a slices.csv in the root.
        group_names: Group name by file name, where known: from a groups.csv in the root, or the
            pattern.
        groups: int64 (n,) group numbers, once the pictures were compared with each other.
        known: Training pictures, copies of them, and pictures of their groups, that were left
            out, once the set was compared with the training pictures.
        skipped: Files that are not evaluated.
        unmatched: Rows of its slices.csv that name no picture.
    """

    source: Source
    names: list[str]
    classes: NDArray[np.int64]
    slices: Mapping[str, list[str]]
    group_names: Mapping[str, str] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None
    known: tuple[str, ...] | None = None
    skipped: tuple[SkippedFile, ...] = ()
    unmatched: tuple[UnmatchedRows, ...] = ()


def find_holdout_set(
    path: Path, labels: Sequence[str], *, label: str | None = None, pattern: str | None = None
) -> HoldoutSet:
    """List the pictures of a holdout set.

    Args:
        path: Folder or zip file with folders named like the labels, other folders
            skipped; or, with `label`, any folder whose pictures are all of that class.
        labels: Class names of the model.
        label: The one class of all pictures.
        pattern: A regular expression; its first capture group in a file name is the picture's
            group. It may match none. Without it, a groups.csv in the root is read.

    Raises:
        NoSuchData: The path is neither a folder nor a zip file.
        TooFewPictures: It has no picture of a known class.
        BadTable: A table, or the pattern, is not as documented.
    """
    source = open_source(path)
    index_of = {name: index for index, name in enumerate(labels)}
    names: list[str] = []
    classes: list[int] = []
    subfolders: list[str] = []
    skipped = list(source.skipped)
    stems = picture_stems(source.names())
    for name in source.names():
        if name in (GROUPS_TABLE, SLICES_TABLE):
            continue
        file = PurePosixPath(name)
        if not is_picture(file):
            skipped.append(SkippedFile(name, other_file_reason(file, stems)))
            continue
        folders = [normalize_name(folder) for folder in file.parts[:-1]]
        depth = next((i for i, folder in enumerate(folders) if folder in index_of), None)
        if label is not None:
            index, below = index_of[label], folders
        elif depth is not None:
            index, below = index_of[folders[depth]], folders[depth + 1 :]
        else:
            skipped.append(SkippedFile(name, _unknown_folder(folders, labels)))
            continue
        names.append(name)
        classes.append(index)
        subfolders.append(below[0] if below else "")
    if not names:
        where = "" if label is not None else f" in a folder named {' or '.join(labels)}"
        raise TooFewPictures(f"{path} has no picture{where}.")
    tables = Tables(source, "", names)
    slices = {FOLDER_ATTRIBUTE: subfolders} if any(subfolders) else {}
    for attribute, slice_of in tables.slices().items():
        slices[attribute] = [slice_of.get(name, "") for name in names]
    return HoldoutSet(
        source,
        names,
        np.array(classes, dtype=np.int64),
        slices,
        groups_by_pattern(pattern, names, required=False) if pattern else tables.groups(),
        skipped=tuple(skipped),
        unmatched=tuple(tables.unmatched),
    )


def _unknown_folder(folders: Sequence[str], labels: Sequence[str]) -> str:
    """Return the reason to skip a picture in no class's folder, and the class that may be meant."""
    keys = {label_key(label): label for label in labels}
    meant = next((keys[key] for folder in folders if (key := label_key(folder)) in keys), None)
    hint = f" (is {meant} meant?)" if meant else ""
    return f"in no folder with the name of a class{hint}"
