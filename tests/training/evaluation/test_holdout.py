"""Evaluation of a graph on holdout sets."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.bundle.load import answer, load_graph
from models.bundle.manifest import OodFacts
from models.imaging.decode import decode_image
from tests.images import encode, photograph
from tests.models.tiny_bundle import TINY_PX, TinyGraph, torchscript
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.holdout import find_holdout_set
from training.data.source import SkippedFile, open_source
from training.errors import TooFewPictures
from training.evaluation.holdout import (
    EvaluatedSet,
    evaluate_holdout,
    holdout_metrics,
    leave_out_known,
)
from training.features.extract import StatsOnly, extract
from training.features.feature_set import FeatureSet

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


def test_evaluate_holdout_returns_the_graph_s_probabilities_and_names_unreadable_files(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    names = [f"{label}/{index:02}.png" for label in ("cat", "eel") for index in range(10)]
    make(tmp_path, *names, "dog/fog/1.png")
    broken = ["cat/00.png", "cat/07.png", "eel/05.png"]  # first, last of a batch, and inside one
    for name in broken:
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "eel" / "link.png").symlink_to(tmp_path / "absent.png")
    evaluated = evaluate_holdout(graph, find_holdout_set(tmp_path, LABELS), input_px=TINY_PX)
    kept = [name for name in sorted([*names, "dog/fog/1.png"]) if name not in broken]
    assert evaluated.names == kept
    assert [skipped.name for skipped in evaluated.unreadable] == [*broken, "eel/link.png"]
    assert all(skipped.reason for skipped in evaluated.unreadable)
    assert [LABELS[k] for k in evaluated.classes] == [name.split("/")[0] for name in kept]
    assert evaluated.slices == {"folder": ["fog" if "fog" in name else "" for name in kept]}
    pixels = [decode_image((tmp_path / name).read_bytes(), size=TINY_PX) for name in kept]
    alone = [answer(graph, picture[None])[0][0].numpy() for picture in pixels]
    assert evaluated.probabilities.dtype == np.float64
    assert evaluated.probabilities.shape == (len(kept), 3)
    np.testing.assert_allclose(evaluated.probabilities, alone, atol=1e-6)
    assert (
        float(evaluated.probabilities.std(axis=0).min()) > 0.01
    )  # not all pictures have the same probabilities


def test_evaluate_holdout_refuses_a_set_without_readable_pictures(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    (tmp_path / "cat").mkdir()
    for index in range(9):
        (tmp_path / "cat" / f"{index}.png").write_bytes(b"")
    with pytest.raises(TooFewPictures, match=r"has no picture that can be read\.$"):
        evaluate_holdout(graph, find_holdout_set(tmp_path, LABELS), input_px=TINY_PX)


# --- metrics -------------------------------------------------------------------------------


def test_holdout_metrics_count_the_correct_ones_of_each_slice() -> None:
    evaluated = EvaluatedSet(
        names=[f"{index}.png" for index in range(6)],
        classes=np.array([0, 0, 0, 1, 1, 1]),
        probabilities=np.eye(3)[[0, 0, 1, 1, 1, 2]] * 0.7 + 0.1,
        slices={"folder": ["fog", "night", "fog", "", "fog", ""]},
        unreadable=[SkippedFile("x.png", "why")],
        read=lambda index: b"",
    )
    found = holdout_metrics(evaluated, LABELS, threshold=0.75, config=CONFIG)
    (per_folder,) = found["slices"]
    assert per_folder["attribute"] == "folder"
    assert [(row["name"], row["pictures"], row["right"]) for row in per_folder["slices"]] == [
        ("fog", 3, 2),
        ("night", 1, 1),
    ]
    assert found["answered"] == pytest.approx(1.0)
    assert found["unreadable"] == 1
    assert (found["pictures"], found["accuracy"]) == (6, pytest.approx(4 / 6))
    assert found["recall"] == {"cat": pytest.approx(2 / 3), "dog": pytest.approx(2 / 3)}
    assert found["confusion"] == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]


def test_holdout_metrics_of_one_class_have_recall_and_no_roc_auc(
    tmp_path: Path, graph: torch.jit.ScriptModule
) -> None:
    make(tmp_path, *(f"{index}.png" for index in range(5)))
    evaluated = evaluate_holdout(
        graph, find_holdout_set(tmp_path, LABELS, label="dog"), input_px=TINY_PX
    )
    found = holdout_metrics(evaluated, LABELS, threshold=0.5, config=CONFIG)
    assert set(found["recall"]) == {"dog"}
    assert found["roc_auc"] is None
    assert found["roc_auc_interval_95"] is None
    assert found["recall"]["dog"] == float((evaluated.probabilities.argmax(axis=1) == 1).mean())
    assert (found["slices"], found["unreadable"]) == ([], 0)


# --- against the training pictures ---------------------------------------------------------


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as cache:
        yield cache


def trained_on(folder: Path, cache: Cache) -> FeatureSet:
    listing = scan(open_source(folder))
    return FeatureSet.of(listing, extract(listing.source, listing.names, StatsOnly(TINY_PX), cache))


def test_leave_out_known_names_training_pictures_and_copies(tmp_path: Path, cache: Cache) -> None:
    train = make(tmp_path / "train", *(f"{label}/{i}.png" for i in range(3) for label in LABELS))
    test = tmp_path / "test"
    (test / "cat").mkdir(parents=True)
    (test / "cat" / "same.png").write_bytes((train / "cat" / "0.png").read_bytes())
    again = Image.open(train / "dog" / "1.png").convert("RGB")
    again.save(test / "cat" / "again.jpg", quality=90)
    again.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(test / "cat" / "mirrored.png")
    (test / "cat" / "new.png").write_bytes(encode(photograph(24, 20, 77)))
    (test / "cat" / "broken.png").write_bytes(b"no picture")
    found = leave_out_known(
        find_holdout_set(test, LABELS), trained_on(train, cache), cache, input_px=TINY_PX
    )
    assert found.known == ("cat/again.jpg", "cat/mirrored.png", "cat/same.png")
    assert found.names == ["cat/broken.png", "cat/new.png"]
    assert found.groups is not None
    assert len(np.unique(found.groups)) == 2
    assert len(found.classes) == 2


def test_leave_out_known_refuses_the_training_folder(tmp_path: Path, cache: Cache) -> None:
    train = make(tmp_path / "train", *(f"{label}/{i}.png" for i in range(3) for label in LABELS))
    with pytest.raises(TooFewPictures, match="all of its 9 pictures are training pictures, copies"):
        leave_out_known(
            find_holdout_set(train, LABELS), trained_on(train, cache), cache, input_px=TINY_PX
        )


def test_leave_out_known_groups_copies_and_declared_groups(tmp_path: Path, cache: Cache) -> None:
    train = make(tmp_path / "train", *(f"{label}/{i}.png" for i in range(3) for label in LABELS))
    test = tmp_path / "test"
    for number, seed in enumerate([50, 50, 51, 52, 53]):  # the first two are the same picture
        (test / "cat").mkdir(parents=True, exist_ok=True)
        (test / "cat" / f"{number}.png").write_bytes(encode(photograph(24, 20, seed)))
    (test / "groups.csv").write_text("file,group\ncat/2.png,g\ncat/4.png,g\n")
    found = leave_out_known(
        find_holdout_set(test, LABELS), trained_on(train, cache), cache, input_px=TINY_PX
    )
    assert found.known == ()
    assert found.groups is not None
    assert found.groups.tolist() == [0, 0, 1, 2, 1]
    patterned = find_holdout_set(test, LABELS, pattern=r"(\d)\.png")
    assert patterned.group_names["cat/3.png"] == "3"


def test_leave_out_known_names_pictures_of_a_trained_group(tmp_path: Path, cache: Cache) -> None:
    train = make(tmp_path / "train", *(f"{label}/{i}.png" for i in range(3) for label in LABELS))
    (train / "groups.csv").write_text("file,group\ncat/0.png,anna\ndog/0.png,ben\n")
    test = tmp_path / "test"
    for number, label in enumerate(["cat", "cat", "dog"]):
        (test / label).mkdir(parents=True, exist_ok=True)
        (test / label / f"{number}.png").write_bytes(encode(photograph(24, 20, 60 + number)))
    (test / "groups.csv").write_text("file,group\ncat/1.png,anna\ndog/2.png,carla\n")
    feature_set = trained_on(train, cache)
    found = leave_out_known(find_holdout_set(test, LABELS), feature_set, cache, input_px=TINY_PX)
    assert found.known == ("cat/1.png",)
    assert found.names == ["cat/0.png", "dog/2.png"]


def test_holdout_metrics_count_groups_and_training_copies() -> None:
    size = 60
    evaluated = EvaluatedSet(
        names=[f"{index}.png" for index in range(size)],
        classes=np.arange(size) % 2,
        probabilities=np.eye(3)[np.arange(size) % 2] * 0.7 + 0.1,
        slices={},
        unreadable=[],
        read=lambda index: b"",
        groups=np.arange(size) // 6,
        known=("a.png",),
        distances=np.where(np.arange(size) < 6, 1.0, 0.1),
    )
    facts = OodFacts(
        threshold=0.5, false_alarms=0.05, neighbours=5, references=9, mean_distance=0.1
    )
    found = holdout_metrics(evaluated, LABELS, threshold=0.5, config=CONFIG, familiarity=facts)
    alone = holdout_metrics(
        dataclasses.replace(evaluated, groups=None, known=None), LABELS, threshold=0.5,
        config=CONFIG,
    )  # fmt: skip
    assert (found["groups"], alone["groups"]) == (10, 60)
    assert found["accuracy_interval_95"][0] < alone["accuracy_interval_95"][0] - 0.02
    assert (found["training_copies"], alone["training_copies"]) == (1, None)
    assert found["unfamiliar_by_class"] == {"cat": 0.1, "dog": 0.1}
    assert alone["unfamiliar_by_class"] is None
