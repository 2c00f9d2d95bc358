"""The robustness card: held-out pictures only, each by a head that had not seen it."""

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
from tests.training.evaluation.test_study import pictures_of
from training.config import FitConfig
from training.evaluation.corruptions import LADDER, corrupt
from training.evaluation.head import Head
from training.evaluation.holdout import Judged
from training.evaluation.robustness import HeldOut, measure_robustness, of_test_set, out_of_fold
from training.evaluation.study import Study
from training.features.extract import Extractor
from training.report.data import TestCase

CONFIG = dataclasses.replace(FitConfig(), draws=500, robustness_pictures=4)
FILES = [encode(photograph(40, 40, seed)) for seed in range(20)]
CLASSES = np.repeat([0, 1], [12, 8]).astype(np.int64)


def held_out(judge: object, answers: np.ndarray = CLASSES) -> HeldOut:
    return HeldOut(
        what="drawn",
        classes=CLASSES,
        groups=np.arange(len(CLASSES)),
        answers=answers,
        picture=FILES.__getitem__,
        judge=judge,  # type: ignore[arg-type]
        input_px=TINY_PX,
    )


def test_what_is_judged_is_every_version_of_a_few_pictures_of_each_class() -> None:
    seen: dict[int, list[Tensor]] = {}
    lock = threading.Lock()

    def judge(place: int, versions: Tensor) -> np.ndarray:
        with lock:
            seen.setdefault(place, []).append(versions)
        return np.full(len(versions), CLASSES[place])

    done: list[tuple[int, int]] = []
    found = measure_robustness(
        held_out(judge), ("cat", "dog"), config=CONFIG, progress=lambda *of: done.append(of)
    )
    assert sorted(seen) == [0, 4, 7, 11, 12, 14, 17, 19]  # spread evenly over each class
    for place, batches in seen.items():
        whole = decode_image(FILES[place], size=TINY_PX)
        assert torch.equal(torch.cat(batches), corrupt(whole))
    assert done == [(1, 8)] * 8
    assert found["pictures"] == {"cat": 4, "dog": 4}
    assert [kind["name"] for kind in found["corruptions"]] == [kind.name for kind in LADDER]
    assert found["mean"] == found["undamaged"]["balanced_accuracy"] == 1.0
    assert found["judged"] == "drawn"


def test_a_step_has_the_share_of_each_class_that_is_still_found() -> None:
    """A judge that loses dogs at the two hardest steps of blur, and one cat everywhere."""
    blur = [kind.name for kind in LADDER].index("blur")

    def judge(place: int, versions: Tensor) -> np.ndarray:
        at = counts.get(place, 0)
        counts[place] = at + len(versions)
        numbers = np.arange(at, at + len(versions))
        lost = (numbers == 5 * blur + 3) | (numbers == 5 * blur + 4)
        if place == 0:
            return np.ones(len(versions), dtype=np.int64)
        return np.where(lost, 0, CLASSES[place])

    counts: dict[int, int] = {}
    answers = CLASSES.copy()
    answers[12] = 0
    found = measure_robustness(held_out(judge, answers), ("cat", "dog"), config=CONFIG)
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


def test_a_training_picture_is_judged_by_the_head_of_its_own_fold(
    backbone: object, tmp_path: object
) -> None:
    extractor = Extractor(backbone)  # type: ignore[arg-type]
    features = np.zeros((20, extractor.width), dtype=np.float32)
    pictures = pictures_of(features, CLASSES, np.arange(20), tmp_path)  # type: ignore[arg-type]
    folds = np.arange(20) % 3
    # Each fold's head has an answer of its own, whatever the picture.
    heads = [
        Head(np.zeros((3, extractor.width), np.float32), np.eye(3, dtype=np.float32)[k], 1.0)
        for k in range(3)
    ]
    studied = dataclasses.replace(
        _STUDY, fold_heads=heads, folds=folds, probabilities=np.eye(3)[CLASSES]
    )
    asked = out_of_fold(pictures, studied, extractor)
    versions = torch.zeros((4, 3, extractor.input_px, extractor.input_px), dtype=torch.uint8)
    for place in range(20):
        assert asked.judge(place, versions).tolist() == [place % 3] * 4
    assert asked.answers.tolist() == CLASSES.tolist()


_STUDY = Study(None, [], np.array([]), np.array([]), None, None, {}, {}, None)  # type: ignore[arg-type]


def test_the_first_test_set_with_every_class_is_taken_and_judged_by_the_graph() -> None:
    graph = load_graph(torchscript(TinyGraph(2)))

    def case(name: str, classes: list[int]) -> TestCase:
        chances = np.eye(2)[classes]
        judged = Judged([f"{k}.png" for k in classes], np.array(classes), chances, {}, [])
        return TestCase(name, judged, FILES.__getitem__)

    cases = [case("one class", [1, 1]), case("both", [0, 1, 1]), case("more", [1, 0])]
    asked = of_test_set(cases, graph, ("cat", "dog"), input_px=TINY_PX)
    assert asked is not None
    assert asked.what == "test set both"
    assert asked.answers.tolist() == [0, 1, 1]
    versions = corrupt(decode_image(FILES[3], size=TINY_PX))[:8]
    said = asked.judge(0, versions)
    assert said.tolist() == answer(graph, versions)[0].argmax(1).tolist()
    assert of_test_set(cases[:1], graph, ("cat", "dog"), input_px=TINY_PX) is None
