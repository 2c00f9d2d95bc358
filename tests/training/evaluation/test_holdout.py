"""Separate test sets: which pictures count, under what name, and what the graph says of them."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle.load import answer, load_graph
from models.imaging.decode import decode_image
from tests.conftest import TINY_PX, TinyGraph, encode, photograph, torchscript
from training.config import FitConfig
from training.data.dataset import Left
from training.errors import NoSuchData, TooFewPictures
from training.evaluation import holdout
from training.evaluation.holdout import figures, find_test_set, judge

LABELS = ["cat", "dog", "eel"]
CONFIG = dataclasses.replace(FitConfig(), draws=500)


def make(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(photograph(24, 20, seed)))
    return folder


def rows(found: holdout.TestSet) -> list[tuple[str, str, str]]:
    """(name, label, slice) of every picture."""
    return [
        (name, LABELS[k], part)
        for name, k, part in zip(
            found.names,
            found.classes,
            found.slices.get("folder", [""] * len(found.names)),
            strict=True,
        )
    ]


@pytest.fixture(scope="module")
def graph() -> torch.jit.ScriptModule:
    return load_graph(torchscript(TinyGraph(3)))


# --- finding -------------------------------------------------------------------------------


def test_class_folders_are_found_in_order_and_strange_ones_ignored(tmp_path: Path) -> None:
    make(tmp_path, "eel/2.png", "cat/2.png", "cat/10.png", "mouse/1.png", "loose.png", "Dog/1.png")
    (tmp_path / "cat" / "notes.txt").write_text("")
    make(tmp_path, "cat/.hidden.png", "__MACOSX/cat/1.png", ".git/cat/1.png")
    assert rows(find_test_set(tmp_path, LABELS)) == [
        ("cat/10.png", "cat", ""),
        ("cat/2.png", "cat", ""),
        ("eel/2.png", "eel", ""),
    ]


def test_folders_below_a_class_are_slices(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "cat/night/1.png", "cat/night/deep/1.png", "dog/fog/1.png")
    assert rows(find_test_set(tmp_path, LABELS)) == [
        ("cat/1.png", "cat", ""),
        ("cat/night/1.png", "cat", "night"),
        ("cat/night/deep/1.png", "cat", "night"),
        ("dog/fog/1.png", "dog", "fog"),
    ]


def test_class_folders_may_stand_below_others_and_the_outermost_counts(tmp_path: Path) -> None:
    make(tmp_path, "2024/cat/1.png", "2024/dog/fog/1.png", "2025/cat/dog/1.png")
    assert rows(find_test_set(tmp_path, LABELS)) == [
        ("2024/cat/1.png", "cat", ""),
        ("2024/dog/fog/1.png", "dog", "fog"),
        ("2025/cat/dog/1.png", "cat", "dog"),
    ]


def test_a_folder_of_one_class_takes_every_picture_whatever_its_folders_say(
    tmp_path: Path,
) -> None:
    make(tmp_path, "1.png", "cat/1.png", "fog/deep/1.png")
    assert rows(find_test_set(tmp_path, LABELS, label="dog")) == [
        ("1.png", "dog", ""),
        ("cat/1.png", "dog", "cat"),
        ("fog/deep/1.png", "dog", "fog"),
    ]


def test_a_zip_file_is_a_test_set_too(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", "cat/1.png", "dog/fog/2.png")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as writer:
        for path in sorted(folder.rglob("*.png")):
            writer.write(path, path.relative_to(folder).as_posix())
    found, plain = find_test_set(tmp_path / "data.zip", LABELS), find_test_set(folder, LABELS)
    assert rows(found) == rows(plain) == [("cat/1.png", "cat", ""), ("dog/fog/2.png", "dog", "fog")]
    assert [found.source.read(name) for name in found.names] == [
        plain.source.read(name) for name in plain.names
    ]


def test_nothing_found_is_a_sentence(tmp_path: Path) -> None:
    make(tmp_path, "mouse/1.png")
    with pytest.raises(TooFewPictures, match=r"no picture in a folder named cat or dog or eel\.$"):
        find_test_set(tmp_path, LABELS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TooFewPictures, match=r"empty holds no picture\.$"):
        find_test_set(tmp_path / "empty", LABELS, label="cat")
    with pytest.raises(NoSuchData, match="absent"):
        find_test_set(tmp_path / "absent", LABELS)


# --- judging -------------------------------------------------------------------------------


def test_the_answers_are_the_graph_s_and_the_unreadable_are_named(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    names = [f"{label}/{place:02}.png" for label in ("cat", "eel") for place in range(10)]
    make(tmp_path, *names, "dog/fog/1.png")
    broken = ["cat/00.png", "cat/07.png", "eel/05.png"]  # first, last of a batch, and inside one
    for name in broken:
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "eel" / "link.png").symlink_to(tmp_path / "absent.png")
    judged = judge(graph, find_test_set(tmp_path, LABELS), input_px=TINY_PX)
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
        judge(graph, find_test_set(tmp_path, LABELS), input_px=TINY_PX)


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
    judged = judge(graph, find_test_set(tmp_path, LABELS, label="dog"), input_px=TINY_PX)
    found = figures(judged, LABELS, threshold=0.5, config=CONFIG)
    assert set(found["recall"]) == {"dog"}
    assert found["roc_auc"] is None
    assert found["roc_auc_interval_95"] is None
    assert found["recall"]["dog"] == float((judged.probabilities.argmax(axis=1) == 1).mean())
    assert (found["slices"], found["unreadable"]) == ([], 0)
