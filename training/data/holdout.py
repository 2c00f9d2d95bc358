"""Holdout sets: labelled pictures, kept apart from training, that a finished model is tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import FOLDER_ATTRIBUTE, is_picture, visible_names
from training.data.source import Source, open_source
from training.data.tables import read_slices
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
    """

    source: Source
    names: list[str]
    classes: NDArray[np.int64]
    slices: Mapping[str, list[str]]


def find_holdout_set(path: Path, labels: Sequence[str], *, label: str | None = None) -> HoldoutSet:
    """List the pictures of a holdout set.

    Args:
        path: Folder or zip file with folders named like the labels, other folders ignored;
            or, with `label`, any folder whose pictures are all of that class.
        labels: Class names of the model.
        label: The one class of all pictures.

    Raises:
        NoSuchData: The path is neither a folder nor a zip file.
        TooFewPictures: It holds no picture of a known class.
        BadTable: Its slices.csv is not as documented.
    """
    source = open_source(path)
    names: list[str] = []
    classes: list[int] = []
    subfolders: list[str] = []
    for name in visible_names(source):
        folders = PurePosixPath(name).parts[:-1]
        if not is_picture(PurePosixPath(name)):
            continue
        known = label if label is not None else next((f for f in folders if f in labels), None)
        if known not in labels:
            continue
        below = folders if label is not None else folders[folders.index(known) + 1 :]
        names.append(name)
        classes.append(labels.index(known))
        subfolders.append(below[0] if below else "")
    if not names:
        where = "" if label is not None else f" in a folder named {' or '.join(labels)}"
        raise TooFewPictures(f"{path} holds no picture{where}.")
    slices = {FOLDER_ATTRIBUTE: subfolders} if any(subfolders) else {}
    for attribute, slice_of in read_slices(source, "", names).items():
        slices[attribute] = [slice_of.get(name, "") for name in names]
    return HoldoutSet(source, names, np.array(classes, dtype=np.int64), slices)
