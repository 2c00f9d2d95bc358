"""Robustness: how far accuracy falls as held-out pictures are corrupted.

Only held-out pictures are corrupted. Those of a holdout set are predicted by the exported graph,
training pictures by the head of the fold that had not seen them. Pictures are corrupted at the
model's input size: decoded once, then uint8 (3, S, S) -> `corruptions.corrupt`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle.load import answer
from models.imaging.decode import decode_image
from training.config import EXTRACTION_BATCH, FitConfig
from training.data.parallel import map_chunks_parallel
from training.data.progress import SILENT, Progress
from training.evaluation.head import Classes, pick_evenly
from training.evaluation.holdout import EvaluatedSet
from training.evaluation.intervals import Design, share_interval
from training.evaluation.metrics import balanced_accuracy, balanced_accuracy_interval
from training.evaluation.robustness.corruptions import CORRUPTIONS, corrupt
from training.evaluation.study import Study
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet


@dataclass(frozen=True)
class HeldOut:
    """Pictures to corrupt, and the model that predicts them.

    Attributes:
        description: Where they come from, in words.
        classes: int64 (n,).
        groups: int64 (n,).
        predicted: int64 (n,): class indices predicted for the undamaged pictures.
        read: Returns the encoded file of the i-th picture.
        predict: (i, uint8 (N, 3, S, S)) -> int64 (N,): predictions for versions of picture i.
        input_px: Edge S.
    """

    description: str
    classes: Classes
    groups: NDArray[np.int64]
    predicted: NDArray[np.int64]
    read: Callable[[int], bytes]
    predict: Callable[[int, Tensor], NDArray[np.int64]]
    input_px: int


def held_out_folds(feature_set: FeatureSet, studied: Study, extractor: Extractor) -> HeldOut:
    """Return the training pictures, each predicted by the head of the fold that did not see it."""

    def predict(index: int, versions: Tensor) -> NDArray[np.int64]:
        head = studied.fold_heads[studied.folds[index]]
        return np.asarray(head.logits(extractor(versions).numpy()).argmax(axis=1))

    return HeldOut(
        description="training pictures, each predicted by a head that had not seen it",
        classes=feature_set.classes,
        groups=feature_set.groups,
        predicted=studied.predicted,
        read=feature_set.read,
        predict=predict,
        input_px=extractor.input_px,
    )


def has_every_class(classes: Classes, labels: Sequence[str]) -> bool:
    """Return True if there are pictures of every class."""
    return len(np.unique(classes)) == len(labels)


def held_out_set(
    results: Mapping[str, EvaluatedSet],
    graph: torch.jit.ScriptModule,
    labels: Sequence[str],
    *,
    input_px: int,
) -> HeldOut | None:
    """Return the first holdout set with pictures of every class, predicted by the graph."""

    def predict(index: int, versions: Tensor) -> NDArray[np.int64]:
        return np.asarray(answer(graph, versions)[0].numpy().argmax(axis=1))

    for name, evaluated in results.items():
        if has_every_class(evaluated.classes, labels):
            return HeldOut(
                description=f"test set {name}",
                classes=evaluated.classes,
                groups=np.arange(len(evaluated.classes)),
                predicted=evaluated.probabilities.argmax(axis=1),
                read=evaluated.read,
                predict=predict,
                input_px=input_px,
            )
    return None


def measure_robustness(
    held_out: HeldOut,
    labels: Sequence[str],
    *,
    config: FitConfig,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Corrupt pictures in every way, and measure the accuracy on the results.

    Args:
        held_out: The pictures; of each class at most `config.robustness_pictures` are used,
            spread evenly over its files.
        labels: Class names.
        config: Number of pictures.
        progress: Advanced per chunk.

    Returns:
        `judged` (where the pictures come from), `pictures` {label: n}, `undamaged` (a row),
        `corruptions` [{name, unit, rows}], and `mean`, the balanced accuracy over all kinds and
        steps. A row holds `step` (except `undamaged`), `balanced_accuracy` and `recall`
        {label: share}, each with its `_interval_95`.
    """
    of_class = [np.flatnonzero(held_out.classes == k) for k in np.unique(held_out.classes)]
    indices = np.concatenate([pick_evenly(own, config.robustness_pictures) for own in of_class])
    predictions: list[NDArray[np.int64]] = []
    for chunk in map_chunks_parallel(
        indices.tolist(), lambda part: [_predict_versions(held_out, index) for index in part]
    ):
        predictions += chunk
        progress.advance(len(chunk), len(indices))
    classes, groups = held_out.classes[indices], held_out.groups[indices]

    def row(predicted: NDArray[np.int64]) -> dict[str, Any]:
        return _row(predicted == classes, classes, groups, labels)

    rows = [row(predicted) for predicted in np.stack(predictions, axis=1)]  # (versions, n)
    mean = float(np.mean([measured["balanced_accuracy"] for measured in rows]))
    remaining = iter(rows)
    return {
        "judged": held_out.description,
        "pictures": {labels[k]: int((classes == k).sum()) for k in np.unique(classes)},
        "undamaged": row(held_out.predicted[indices]),
        "corruptions": [
            {
                "name": corruption.name,
                "unit": corruption.unit,
                "rows": [{"step": step} | next(remaining) for step in corruption.steps],
            }
            for corruption in CORRUPTIONS
        ],
        "mean": mean,
    }


def _predict_versions(held_out: HeldOut, index: int) -> NDArray[np.int64]:
    """Return the predictions for every corrupted version of one picture."""
    versions = corrupt(decode_image(held_out.read(index), size=held_out.input_px))
    batches = torch.split(versions, EXTRACTION_BATCH)
    return np.concatenate([held_out.predict(index, batch) for batch in batches])


def _row(
    correct: NDArray[np.bool_],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
) -> dict[str, Any]:
    present = np.unique(classes).tolist()
    design = Design.of(correct, groups)
    recall = {k: float(correct[classes == k].mean()) for k in present}
    return {
        "balanced_accuracy": balanced_accuracy(correct, classes),
        "balanced_accuracy_interval_95": balanced_accuracy_interval(
            correct, classes, groups, design
        ),
        "recall": {labels[k]: share for k, share in recall.items()},
        "recall_interval_95": {
            labels[k]: share_interval(share, design.size(groups[classes == k]))
            for k, share in recall.items()
        },
    }
