"""How accuracy falls as pictures are damaged: the robustness card of the report.

Damaged are held-out pictures only. Those of a test set are judged by the published graph; the
training pictures, each by the head of the fold that did not see it. They are damaged at the
model's input size: decoded once, then uint8 (3, S, S) -> `training.evaluation.corruptions`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle.load import answer
from models.cpu import usable_cores
from models.imaging.decode import decode_image
from training.config import EXTRACTION_BATCH, FitConfig
from training.evaluation.corruptions import LADDER, corrupt
from training.evaluation.cross_validation import draw_share, interval
from training.evaluation.head import Classes
from training.evaluation.study import Study
from training.features.extract import Extractor
from training.features.feature_set import Pictures
from training.report.data import TestCase


@dataclass(frozen=True)
class HeldOut:
    """Pictures to damage, and who may judge them.

    Attributes:
        what: Where they come from, in words.
        classes: int64 (n,).
        groups: int64 (n,).
        answers: int64 (n,): class indices answered to the undamaged pictures.
        picture: The encoded file of the i-th picture.
        judge: (i, uint8 (N, 3, S, S)) -> int64 (N,): answers to versions of the i-th picture.
        input_px: Edge S.
    """

    what: str
    classes: Classes
    groups: NDArray[np.int64]
    answers: NDArray[np.int64]
    picture: Callable[[int], bytes]
    judge: Callable[[int, Tensor], NDArray[np.int64]]
    input_px: int


def out_of_fold(pictures: Pictures, studied: Study, extractor: Extractor) -> HeldOut:
    """The training pictures, each for the head of the fold that did not see it."""

    def judge(place: int, versions: Tensor) -> NDArray[np.int64]:
        head = studied.fold_heads[studied.folds[place]]
        return np.asarray(head.logits(extractor(versions).numpy()).argmax(axis=1))

    return HeldOut(
        what="training pictures, each judged by a head that had not seen it",
        classes=pictures.classes,
        groups=pictures.groups,
        answers=studied.probabilities.argmax(axis=1),
        picture=pictures.data,
        judge=judge,
        input_px=extractor.input_px,
    )


def holds_all(classes: Classes, labels: Sequence[str]) -> bool:
    """Whether there are pictures of every class."""
    return len(np.unique(classes)) == len(labels)


def of_test_set(
    cases: Sequence[TestCase],
    graph: torch.jit.ScriptModule,
    labels: Sequence[str],
    *,
    input_px: int,
) -> HeldOut | None:
    """The first separate test set that holds every class, for the published graph."""

    def judge(place: int, versions: Tensor) -> NDArray[np.int64]:
        return np.asarray(answer(graph, versions)[0].numpy().argmax(axis=1))

    for case in cases:
        if holds_all(case.judged.classes, labels):
            return HeldOut(
                what=f"test set {case.name}",
                classes=case.judged.classes,
                groups=np.arange(len(case.judged.classes)),
                answers=case.judged.probabilities.argmax(axis=1),
                picture=case.picture,
                judge=judge,
                input_px=input_px,
            )
    return None


def measure_robustness(
    held_out: HeldOut,
    labels: Sequence[str],
    *,
    config: FitConfig,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Damage pictures in every way, and count what is still judged rightly.

    Args:
        held_out: The pictures; of each class at most `config.robustness_pictures` are taken,
            spread evenly over its files.
        labels: Class names.
        config: How many pictures, and draws behind the intervals.
        progress: Takes (pictures just done, pictures in all).

    Returns:
        `judged` (where the pictures come from), `pictures` {label: n}, `undamaged` (a row),
        `corruptions` [{name, unit, rows}], and `mean`, the balanced accuracy over all kinds and
        steps. A row holds `step` (but that of `undamaged`), `balanced_accuracy` and `recall`
        {label: share}, each with its `_interval_95`.
    """
    places = _spread(held_out.classes, config.robustness_pictures)
    answers: list[NDArray[np.int64]] = []
    pool = ThreadPoolExecutor(usable_cores(), "lane", initializer=lambda: torch.set_num_threads(1))
    try:
        for each in pool.map(lambda place: _judge(held_out, place), places):
            answers.append(each)
            progress(1, len(places))
    finally:  # also when the caller is interrupted: what has not begun is dropped
        pool.shutdown(wait=True, cancel_futures=True)
    classes, groups = held_out.classes[places], held_out.groups[places]

    def row(said: NDArray[np.int64]) -> dict[str, Any]:
        return _row(said == classes, classes, groups, labels, config)

    rows = [row(said) for said in np.stack(answers, axis=1)]  # (n,) for each version in turn
    mean = float(np.mean([found["balanced_accuracy"] for found in rows]))
    left = iter(rows)
    return {
        "judged": held_out.what,
        "pictures": {labels[k]: int((classes == k).sum()) for k in np.unique(classes)},
        "undamaged": row(held_out.answers[places]),
        "corruptions": [
            {
                "name": kind.name,
                "unit": kind.unit,
                "rows": [{"step": step} | next(left) for step in kind.steps],
            }
            for kind in LADDER
        ],
        "mean": mean,
    }


def _spread(classes: Classes, most: int) -> NDArray[np.int64]:
    chosen = []
    for k in np.unique(classes):
        own = np.flatnonzero(classes == k)
        chosen.append(own[np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int)])
    return np.concatenate(chosen)


def _judge(held_out: HeldOut, place: int) -> NDArray[np.int64]:
    """Answers to every damaged version of one picture."""
    pixels = decode_image(held_out.picture(place), size=held_out.input_px)
    versions = corrupt(pixels)
    batches = [
        versions[at : at + EXTRACTION_BATCH] for at in range(0, len(versions), EXTRACTION_BATCH)
    ]
    return np.concatenate([held_out.judge(place, batch) for batch in batches])


def _row(
    right: NDArray[np.bool_],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    config: FitConfig,
) -> dict[str, Any]:
    random = np.random.default_rng(config.seed)
    present = np.unique(classes).tolist()
    draws = {k: draw_share(right, groups, classes == k, random, config.draws) for k in present}
    recall = {labels[k]: float(right[classes == k].mean()) for k in present}
    return {
        "balanced_accuracy": float(np.mean(list(recall.values()))),
        "balanced_accuracy_interval_95": interval(np.mean(list(draws.values()), axis=0)),
        "recall": recall,
        "recall_interval_95": {labels[k]: interval(draw) for k, draw in draws.items()},
    }
