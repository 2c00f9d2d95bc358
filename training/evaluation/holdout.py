"""Separate pictures that a published model is judged on, the way the service would answer them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle.load import answer
from models.bundle.manifest import FamiliarityFacts
from models.errors import PictureError
from models.imaging.decode import decode_image
from training.config import EXTRACTION_BATCH, FitConfig
from training.data.dataset import Left
from training.data.holdout import HoldoutSet
from training.errors import TooFewPictures
from training.evaluation.confidence import confidence_figures
from training.evaluation.cross_validation import summarise
from training.evaluation.slices import by_slice


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


def judge(graph: torch.jit.ScriptModule, test: HoldoutSet, *, input_px: int) -> Judged:
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
