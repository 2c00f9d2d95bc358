"""Robustness: held-out pictures are corrupted and predicted by a head that did not see them."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from models.bundle.load import answer, load_graph
from models.imaging.decode import decode_image
from tests.images import encode, photograph
from tests.models.tiny_bundle import TINY_PX, TinyGraph, torchscript
from tests.training.evaluation.test_study import feature_set_of
from training.config import FitConfig
from training.data.progress import Progress
from training.evaluation.head import Head
from training.evaluation.holdout import EvaluatedSet
from training.evaluation.robustness.corruptions import CORRUPTIONS, corrupt
from training.evaluation.robustness.measure import (
    HeldOut,
    held_out_folds,
    held_out_set,
    measure_robustness,
)
from training.evaluation.study import Study
from training.features.extract import Extractor

CONFIG = dataclasses.replace(FitConfig(), draws=500, robustness_pictures=4)
FILES = [encode(photograph(40, 40, seed)) for seed in range(20)]
CLASSES = np.repeat([0, 1], [12, 8]).astype(np.int64)


def held_out(predict: object, predicted: np.ndarray = CLASSES) -> HeldOut:
    return HeldOut(
        description="drawn",
        classes=CLASSES,
        groups=np.arange(len(CLASSES)),
        predicted=predicted,
        read=FILES.__getitem__,
        predict=predict,  # type: ignore[arg-type]
        input_px=TINY_PX,
    )


def test_measure_robustness_predicts_every_corruption_of_some_pictures_per_class() -> None:
    seen: dict[int, list[Tensor]] = {}
    lock = threading.Lock()

    def predict(index: int, versions: Tensor) -> np.ndarray:
        with lock:
            seen.setdefault(index, []).append(versions)
        return np.full(len(versions), CLASSES[index])

    done: list[tuple[int, int]] = []
    found = measure_robustness(
        held_out(predict),
        ("cat", "dog"),
        config=CONFIG,
        progress=Progress(advance=lambda *of: done.append(of)),
    )
    assert sorted(seen) == [0, 4, 7, 11, 12, 14, 17, 19]  # spread evenly over each class
    for index, batches in seen.items():
        whole = decode_image(FILES[index], size=TINY_PX)
        assert torch.equal(torch.cat(batches), corrupt(whole))
    assert sum(count for count, _ in done) == 8
    assert found["pictures"] == {"cat": 4, "dog": 4}
    assert [kind["name"] for kind in found["corruptions"]] == [kind.name for kind in CORRUPTIONS]
    assert found["mean"] == found["undamaged"]["balanced_accuracy"] == 1.0
    assert found["judged"] == "drawn"


def test_measure_robustness_rows_hold_recall_and_balanced_accuracy() -> None:
    """The model misses dogs at the two hardest steps of blur, and one cat everywhere."""
    blur = [kind.name for kind in CORRUPTIONS].index("blur")

    def predict(index: int, versions: Tensor) -> np.ndarray:
        at = counts.get(index, 0)
        counts[index] = at + len(versions)
        numbers = np.arange(at, at + len(versions))
        lost = (numbers == 5 * blur + 3) | (numbers == 5 * blur + 4)
        if index == 0:
            return np.ones(len(versions), dtype=np.int64)
        return np.where(lost, 0, CLASSES[index])

    counts: dict[int, int] = {}
    predicted = CLASSES.copy()
    predicted[12] = 0
    found = measure_robustness(held_out(predict, predicted), ("cat", "dog"), config=CONFIG)
    rows = found["corruptions"][blur]["rows"]
    assert [row["step"] for row in rows] == [0.5, 1, 1.5, 2, 3]
    assert [row["recall"]["dog"] for row in rows] == [1, 1, 1, 0, 0]
    assert [row["recall"]["cat"] for row in rows] == [0.75] * 5
    assert rows[0]["balanced_accuracy"] == pytest.approx(0.875)
    low, high = rows[0]["recall_interval_95"]["cat"]
    assert 0.2 < low < 0.75 < high < 1
    assert found["undamaged"]["recall"] == {"cat": 1.0, "dog": 0.75}
    expected = (38 * 0.875 + 2 * 0.375) / 40
    assert found["mean"] == pytest.approx(expected)


def test_held_out_folds_predict_by_the_head_of_the_picture_s_fold(
    backbone: object, tmp_path: object
) -> None:
    extractor = Extractor(backbone)  # type: ignore[arg-type]
    features = np.zeros((20, extractor.width), dtype=np.float32)
    pictures = feature_set_of(features, CLASSES, np.arange(20), tmp_path)  # type: ignore[arg-type]
    folds = np.arange(20) % 3
    # Each fold's head has its own constant answer.
    heads = [
        Head(np.zeros((3, extractor.width), np.float32), np.eye(3, dtype=np.float32)[k], 1.0)
        for k in range(3)
    ]
    studied = dataclasses.replace(
        _STUDY, fold_heads=heads, folds=folds, probabilities=np.eye(3)[CLASSES]
    )
    asked = held_out_folds(pictures, studied, extractor)
    versions = torch.zeros((4, 3, extractor.input_px, extractor.input_px), dtype=torch.uint8)
    for index in range(20):
        assert asked.predict(index, versions).tolist() == [index % 3] * 4
    assert asked.predicted.tolist() == CLASSES.tolist()


_STUDY = Study(None, [], np.array([]), np.array([]), None, None, {}, {}, None)  # type: ignore[arg-type]


def test_held_out_set_is_the_first_with_every_class_predicted_by_the_graph() -> None:
    graph = load_graph(torchscript(TinyGraph(2)))

    results = {
        name: EvaluatedSet(
            [f"{k}.png" for k in classes],
            np.array(classes),
            np.eye(2)[classes],
            {},
            [],
            FILES.__getitem__,
        )
        for name, classes in {"one class": [1, 1], "both": [0, 1, 1], "more": [1, 0]}.items()
    }
    asked = held_out_set(results, graph, ("cat", "dog"), input_px=TINY_PX)
    assert asked is not None
    assert asked.description == "test set both"
    assert asked.predicted.tolist() == [0, 1, 1]
    versions = corrupt(decode_image(FILES[3], size=TINY_PX))[:8]
    predicted = asked.predict(0, versions)
    assert predicted.tolist() == answer(graph, versions)[0].argmax(1).tolist()
    del results["both"], results["more"]
    assert held_out_set(results, graph, ("cat", "dog"), input_px=TINY_PX) is None
