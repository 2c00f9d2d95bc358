"""Separate pictures that a published model is judged on, the way the service would answer them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle.load import answer
from models.bundle.manifest import FamiliarityFacts
from models.errors import PictureError
from models.imaging.decode import decode_image
from training.config import EXTRACTION_BATCH, FitConfig
from training.data.dataset import FOLDER, Left, is_picture, visible_names
from training.data.source import Source, open_source
from training.data.tables import read_slices
from training.errors import TooFewPictures
from training.evaluation.confidence import confidence_figures
from training.evaluation.cross_validation import summarise
from training.evaluation.slices import by_slice


@dataclass(frozen=True)
class TestSet:
    """Pictures whose true class is known.

    Attributes:
        source: Where to read them.
        names: One a picture.
        classes: Index, among the model's labels, of each picture's class.
        slices: By attribute, what each picture is reported under besides, or "": its folder below
            the class's, and what a slices.csv in the root says.
    """

    __test__ = False  # pytest would take it for a class of tests

    source: Source
    names: list[str]
    classes: NDArray[np.int64]
    slices: Mapping[str, list[str]]


@dataclass(frozen=True)
class Judged:
    """A model's answers to a test set.

    Attributes:
        names: The pictures that could be read.
        classes: int64 (n,) true classes.
        probabilities: float64 (n, K).
        slices: As in the test set.
        unreadable: The others.
        distances: float64 (n,) from the training pictures, if the model measures them.
    """

    names: list[str]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    slices: Mapping[str, list[str]]
    unreadable: list[Left]
    distances: NDArray[np.float64] | None = None


def find_test_set(path: Path, labels: list[str], *, label: str | None = None) -> TestSet:
    """List a test set.

    Args:
        path: Folder or zip file with folders named like the labels, other folders ignored;
            or, with `label`, any folder of which every picture is of that class.
        labels: The model's.
        label: The one class of all pictures.

    Raises:
        NoSuchData: The path is neither a folder nor a zip file.
        TooFewPictures: No picture of a known class is in it.
        BadTable: Its slices.csv is not as documented.
    """
    source = open_source(path)
    names, classes, inner = [], [], []
    for name in visible_names(source):
        folders = PurePosixPath(name).parts[:-1]
        if not is_picture(PurePosixPath(name)):
            continue
        known = label if label is not None else next((f for f in folders if f in labels), None)
        if known not in labels:
            continue
        rest = folders if label is not None else folders[folders.index(known) + 1 :]
        names.append(name)
        classes.append(labels.index(known))
        inner.append(rest[0] if rest else "")
    if not names:
        where = "" if label is not None else f" in a folder named {' or '.join(labels)}"
        raise TooFewPictures(f"{path} holds no picture{where}.")
    tables = read_slices(source, "", names)
    slices = ({FOLDER: inner} if any(inner) else {}) | {
        attribute: [of.get(name, "") for name in names] for attribute, of in tables.items()
    }
    return TestSet(source, names, np.array(classes, dtype=np.int64), slices)


def judge(graph: torch.jit.ScriptModule, test: TestSet, *, input_px: int) -> Judged:
    """Ask the exported graph about every picture, decoded as the service decodes.

    Raises:
        TooFewPictures: No picture can be read.
    """
    kept: list[int] = []
    unreadable: list[Left] = []
    answers: list[NDArray[np.float64]] = []
    distances: list[NDArray[np.float64]] = []
    for chunk in _chunks(len(test.names)):
        # Always a full batch: TorchScript compiles anew for each size that it meets.
        batch = torch.zeros((EXTRACTION_BATCH, 3, input_px, input_px), dtype=torch.uint8)
        read = 0
        for place in chunk:
            try:
                data = test.source.read(test.names[place])
                batch[read] = decode_image(data, size=input_px)
                read += 1
                kept.append(place)
            except (PictureError, OSError) as error:
                unreadable.append(Left(test.names[place], str(error)))
        if read:
            outputs = answer(graph, batch)
            answers.append(outputs.probabilities[:read].numpy().astype(np.float64))
            if outputs.distance is not None:
                distances.append(outputs.distance[:read].numpy().astype(np.float64))
    if not kept:
        raise TooFewPictures(f"{test.source.path} holds no picture that can be read.")
    return Judged(
        names=[test.names[place] for place in kept],
        classes=test.classes[kept],
        probabilities=np.concatenate(answers),
        slices={
            attribute: [values[place] for place in kept]
            for attribute, values in test.slices.items()
        },
        unreadable=unreadable,
        distances=np.concatenate(distances) if distances else None,
    )


def figures(
    judged: Judged,
    labels: list[str],
    *,
    threshold: float,
    config: FitConfig,
    familiarity: FamiliarityFacts | None = None,
) -> dict[str, Any]:
    """Figures of a judged test set.

    Args:
        judged: The answers.
        labels: The model's.
        threshold: Score below which an answer is `uncertain`.
        config: Seed and number of draws.
        familiarity: Of the model, if it measures distances.

    Returns:
        Those of `evaluate.summarise`, `confidence.confidence_figures` and, under `slices`,
        `slices.by_slice`; the share of `unfamiliar` pictures, None if the model cannot tell; and
        how many files could not be read.
    """
    probabilities, classes = judged.probabilities, judged.classes
    right = probabilities.argmax(axis=1) == classes
    groups = np.arange(len(classes))
    return {
        **summarise(probabilities, classes, groups, labels, config=config),
        **confidence_figures(probabilities, classes, threshold=threshold),
        "slices": by_slice(right, classes, groups, labels, judged.slices, config=config),
        "unfamiliar": unfamiliar_share(judged, familiarity),
        "unreadable": len(judged.unreadable),
    }


def unfamiliar_share(judged: Judged, familiarity: FamiliarityFacts | None) -> float | None:
    """Share of the pictures that the model calls unfamiliar; None if it cannot tell."""
    if familiarity is None or judged.distances is None:
        return None
    return float((judged.distances > familiarity.threshold).mean())


def _chunks(count: int) -> Iterator[range]:
    for at in range(0, count, EXTRACTION_BATCH):
        yield range(at, min(at + EXTRACTION_BATCH, count))
