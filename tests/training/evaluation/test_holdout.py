"""Separate test sets: which pictures count, under what name, and what the graph says of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle.load import answer, load_graph
from models.imaging.decode import decode_image
from tests.images import encode, photograph
from tests.models.tiny_bundle import TINY_PX, TinyGraph, torchscript
from training.config import FitConfig
from training.data.dataset import Left
from training.data.holdout import find_holdout_set
from training.errors import TooFewPictures
from training.evaluation import holdout
from training.evaluation.holdout import figures, judge

LABELS = ["cat", "dog", "eel"]
CONFIG = dataclasses.replace(FitConfig(), draws=500)


def make(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(photograph(24, 20, seed)))
    return folder


@pytest.fixture(scope="module")
def graph() -> torch.jit.ScriptModule:
    return load_graph(torchscript(TinyGraph(3)))


def test_the_answers_are_the_graph_s_and_the_unreadable_are_named(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    names = [f"{label}/{place:02}.png" for label in ("cat", "eel") for place in range(10)]
    make(tmp_path, *names, "dog/fog/1.png")
    broken = ["cat/00.png", "cat/07.png", "eel/05.png"]  # first, last of a batch, and inside one
    for name in broken:
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "eel" / "link.png").symlink_to(tmp_path / "absent.png")
    judged = judge(graph, find_holdout_set(tmp_path, LABELS), input_px=TINY_PX)
    kept = [name for name in sorted([*names, "dog/fog/1.png"]) if name not in broken]
    assert judged.names == kept
    assert [left.name for left in judged.unreadable] == [*broken, "eel/link.png"]
    assert all(left.why for left in judged.unreadable)
    assert [LABELS[k] for k in judged.classes] == [name.split("/")[0] for name in kept]
    assert judged.slices == {"folder": ["fog" if "fog" in name else "" for name in kept]}
    pixels = [decode_image((tmp_path / name).read_bytes(), size=TINY_PX) for name in kept]
    alone = [answer(graph, picture[None])[0][0].numpy() for picture in pixels]
    assert judged.probabilities.dtype == np.float64
    assert judged.probabilities.shape == (len(kept), 3)
    np.testing.assert_allclose(judged.probabilities, alone, atol=1e-6)
    assert float(judged.probabilities.std(axis=0).min()) > 0.01  # they are not all one answer


def test_a_test_set_without_a_readable_picture_is_a_sentence(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    (tmp_path / "cat").mkdir()
    for place in range(9):
        (tmp_path / "cat" / f"{place}.png").write_bytes(b"")
    with pytest.raises(TooFewPictures, match=r"holds no picture that can be read\.$"):
        judge(graph, find_holdout_set(tmp_path, LABELS), input_px=TINY_PX)


# --- figures -------------------------------------------------------------------------------


def test_figures_count_the_right_ones_of_each_slice() -> None:
    judged = holdout.Judged(
        names=[f"{place}.png" for place in range(6)],
        classes=np.array([0, 0, 0, 1, 1, 1]),
        probabilities=np.eye(3)[[0, 0, 1, 1, 1, 2]] * 0.7 + 0.1,
        slices={"folder": ["fog", "night", "fog", "", "fog", ""]},
        unreadable=[Left("x.png", "why")],
    )
    found = figures(judged, LABELS, threshold=0.75, config=CONFIG)
    (by_folder,) = found["slices"]
    assert by_folder["attribute"] == "folder"
    assert [(row["name"], row["pictures"], row["right"]) for row in by_folder["slices"]] == [
        ("fog", 3, 2),
        ("night", 1, 1),
    ]
    assert found["answered"] == pytest.approx(1.0)
    assert found["unreadable"] == 1
    assert (found["pictures"], found["accuracy"]) == (6, pytest.approx(4 / 6))
    assert found["recall"] == {"cat": pytest.approx(2 / 3), "dog": pytest.approx(2 / 3)}
    assert found["confusion"] == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]


def test_a_test_set_of_one_class_has_recall_and_no_area_under_a_curve(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    make(tmp_path, *(f"{place}.png" for place in range(5)))
    judged = judge(graph, find_holdout_set(tmp_path, LABELS, label="dog"), input_px=TINY_PX)
    found = figures(judged, LABELS, threshold=0.5, config=CONFIG)
    assert set(found["recall"]) == {"dog"}
    assert found["roc_auc"] is None
    assert found["roc_auc_interval_95"] is None
    assert found["recall"]["dog"] == float((judged.probabilities.argmax(axis=1) == 1).mean())
    assert (found["slices"], found["unreadable"]) == ([], 0)
