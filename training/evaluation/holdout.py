"""Evaluation of an exported model on a holdout set, with the service's decoding."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle.load import answer
from models.bundle.manifest import OodFacts
from models.bundle.second_pass import answer_framed
from models.errors import PictureError
from models.imaging.decode import decode_image
from models.imaging.framing import Framing
from training.config import EXTRACTION_BATCH, FitConfig
from training.data.cache import Cache
from training.data.duplicates import find_near_duplicates, group_pictures
from training.data.hash_search import connected_groups
from training.data.holdout import HoldoutSet
from training.data.source import SkippedFile
from training.errors import TooFewPictures
from training.evaluation.metrics import classification_metrics, confidence_metrics
from training.evaluation.slices import slice_metrics
from training.features.extract import StatsOnly, extract
from training.features.feature_set import FeatureSet


@dataclass(frozen=True)
class EvaluatedSet:
    """A model's predictions on the readable pictures of a holdout set.

    Attributes:
        names: (n) file names.
        classes: int64 (n,) true classes.
        probabilities: float64 (n, K).
        slices: Slice of each picture by attribute, as in the holdout set.
        unreadable: Files that could not be read.
        read: Returns the encoded file of the i-th picture.
        groups: int64 (n,) group numbers; without, each picture is a group of its own.
        known: Training pictures, copies of them, and pictures of their groups, that were left out;
            None if the set was not compared with the training pictures.
        distances: float64 (n,) from the training pictures, if the model measures them.
    """

    names: list[str]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    slices: Mapping[str, list[str]]
    unreadable: list[SkippedFile]
    read: Callable[[int], bytes]
    groups: NDArray[np.int64] | None = None
    known: tuple[str, ...] | None = None
    distances: NDArray[np.float64] | None = None


def leave_out_known(
    holdout: HoldoutSet, feature_set: FeatureSet, cache: Cache, *, input_px: int
) -> HoldoutSet:
    """Leave out training pictures, copies of them and pictures of their groups; group the others.

    Copies are files equal to the byte and near-duplicates, also of a copy that is left out. A group
    is one that both sides declare by the same name: another photograph of a person who is trained
    on. Pictures that cannot be read are kept, for the evaluation to report.

    Args:
        holdout: The set, as listed.
        feature_set: The training pictures.
        cache: Cache of the statistics by which pictures are compared.
        input_px: Edge S that they are measured at.

    Raises:
        TooFewPictures: Nothing else is left.
    """
    found = extract(holdout.source, holdout.names, StatsOnly(input_px), cache)
    stats = [*feature_set.stats, *found.stats]
    first = len(feature_set.stats)
    by_digest: dict[str, int] = {}
    equal = [(by_digest.setdefault(one.sha256, i), i) for i, one in enumerate(stats)]
    joined = connected_groups(len(stats), [*equal, *find_near_duplicates(stats)])
    trained_groups = set(feature_set.listing.groups.values())
    same_group = [
        holdout.group_names.get(holdout.names[i]) in trained_groups for i in found.kept.tolist()
    ]
    copied = np.isin(joined[first:], joined[:first])
    known = set(found.kept[copied | np.array(same_group, dtype=bool)].tolist())
    kept = [index for index in range(len(holdout.names)) if index not in known]
    if len(known) == len(found.kept) > 0:
        raise TooFewPictures(
            f"{holdout.source.path}: all of its {len(known)} pictures are training pictures, "
            "copies of them, or of a group that is trained on, and a model cannot be tested on "
            "what it was trained on. Give pictures of another folder to --test."
        )
    names = [holdout.names[index] for index in kept]
    position = {index: new for new, index in enumerate(kept)}
    read = [(i, index) for i, index in enumerate(found.kept.tolist()) if index not in known]
    firsts: dict[int, int] = {}
    copies = [
        (firsts.setdefault(int(joined[first + i]), position[index]), position[index])
        for i, index in read
    ]
    return dataclasses.replace(
        holdout,
        names=names,
        classes=holdout.classes[kept],
        slices={
            attribute: [values[index] for index in kept]
            for attribute, values in holdout.slices.items()
        },
        groups=group_pictures(names, holdout.group_names, copies),
        known=tuple(holdout.names[index] for index in sorted(known)),
    )


def evaluate_holdout(
    graph: torch.jit.ScriptModule,
    holdout: HoldoutSet,
    *,
    input_px: int,
    framing: Framing | None = None,
) -> EvaluatedSet:
    """Predict every picture of a holdout set by an exported graph, as the service does.

    Args:
        graph: The exported model.
        holdout: The set.
        input_px: Edge S of the model's input.
        framing: When and how a picture's main face is framed; None if pictures stay whole.

    Raises:
        TooFewPictures: No picture can be read.
    """
    kept: list[int] = []
    unreadable: list[SkippedFile] = []
    probabilities: list[NDArray[np.float64]] = []
    distances: list[NDArray[np.float64]] = []
    for start in range(0, len(holdout.names), EXTRACTION_BATCH):
        # Batches are always full: TorchScript compiles again for each new size.
        batch = torch.zeros((EXTRACTION_BATCH, 3, input_px, input_px), dtype=torch.uint8)
        num_read = 0
        for index in range(start, min(start + EXTRACTION_BATCH, len(holdout.names))):
            try:
                data = holdout.source.read(holdout.names[index])
                batch[num_read] = decode_image(data, size=input_px)
                num_read += 1
                kept.append(index)
            except (PictureError, OSError) as error:
                unreadable.append(SkippedFile(holdout.names[index], str(error)))
        if num_read:
            names = [holdout.names[index] for index in kept[-num_read:]]

            def read(index: int, names: Sequence[str] = names) -> bytes:
                if index >= len(names):
                    raise FileNotFoundError("padding")
                return holdout.source.read(names[index])

            chances, away = answer_framed(partial(answer, graph), batch, read, framing)
            probabilities.append(chances[:num_read].numpy().astype(np.float64))
            if away is not None:
                distances.append(away[:num_read].numpy().astype(np.float64))
    if not kept:
        raise TooFewPictures(f"{holdout.source.path} has no picture that can be read.")
    return EvaluatedSet(
        names=[holdout.names[index] for index in kept],
        read=lambda index: holdout.source.read(holdout.names[kept[index]]),
        classes=holdout.classes[kept],
        probabilities=np.concatenate(probabilities),
        slices={
            attribute: [values[index] for index in kept]
            for attribute, values in holdout.slices.items()
        },
        unreadable=unreadable,
        groups=None if holdout.groups is None else holdout.groups[kept],
        known=holdout.known,
        distances=np.concatenate(distances) if distances else None,
    )


def holdout_metrics(
    evaluated: EvaluatedSet,
    labels: list[str],
    *,
    threshold: float,
    config: FitConfig,
    familiarity: OodFacts | None = None,
) -> dict[str, Any]:
    """Return the metrics of an evaluated holdout set.

    Args:
        evaluated: The predictions.
        labels: Class names of the model.
        threshold: Score below which an answer is `uncertain`.
        config: Seed and number of draws.
        familiarity: Block `familiarity` of the manifest, if the model measures distances.

    Returns:
        Those of `classification_metrics` and `confidence_metrics`; under `slices`, of
        `slice_metrics`; `unfamiliar`, as `unfamiliar_share`, and the same by class; `unreadable`,
        the number of files that could not be read; and `training_copies`, the number of training
        pictures, their copies and pictures of their groups that were left out, None if these were
        not searched for.
    """
    probabilities, classes = evaluated.probabilities, evaluated.classes
    correct = probabilities.argmax(axis=1) == classes
    groups = np.arange(len(classes)) if evaluated.groups is None else evaluated.groups
    return {
        **classification_metrics(probabilities, classes, groups, labels),
        **confidence_metrics(probabilities, classes, threshold=threshold),
        "slices": slice_metrics(correct, classes, groups, labels, evaluated.slices, config=config),
        "unfamiliar": unfamiliar_share(evaluated, familiarity),
        "unfamiliar_by_class": _unfamiliar_by_class(evaluated, labels, familiarity),
        "unreadable": len(evaluated.unreadable),
        "training_copies": None if evaluated.known is None else len(evaluated.known),
    }


def unfamiliar_share(evaluated: EvaluatedSet, familiarity: OodFacts | None) -> float | None:
    """Return the share of pictures beyond the out-of-distribution threshold; None without one."""
    if familiarity is None or evaluated.distances is None:
        return None
    return float((evaluated.distances > familiarity.threshold).mean())


def _unfamiliar_by_class(
    evaluated: EvaluatedSet, labels: list[str], familiarity: OodFacts | None
) -> dict[str, float] | None:
    if familiarity is None or evaluated.distances is None:
        return None
    beyond = evaluated.distances > familiarity.threshold
    return {
        labels[k]: float(beyond[evaluated.classes == k].mean())
        for k in np.unique(evaluated.classes).tolist()
    }
