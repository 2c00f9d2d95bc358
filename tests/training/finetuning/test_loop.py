"""Fine-tuning: frozen parts stay unchanged, and a resumed run ends like an uninterrupted one."""

import dataclasses
import os
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle.load import answer, load_graph
from tests import WAIT_S
from tests.training.finetuning.runs import (
    QUICK,
    Killed,
    backbone_of,
    content,
    drawn,
    killer,
    network_of_two_stages,
    run,
)
from tests.training.tiny_backbone import tiny_backbone
from training.backbones.pooling import BANDS
from training.data.progress import Progress
from training.errors import OutputError, TooFewPictures, TrainingError
from training.evaluation.head import log_loss, softmax
from training.features.augment import Augmentation, make_augment
from training.features.extract import Extractor
from training.finetuning.checkpoint import CHECKPOINT, CheckpointMismatch
from training.finetuning.config import FinetuneConfig
from training.finetuning.device import half_precision
from training.finetuning.loop import Finetuned, predict_logits
from training.finetuning.pixels import LabelledPixels
from training.finetuning.run import Diverged, Run
from training.finetuning.step import TrainingStep
from training.publish.export import Classifier, export


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 32 x 32 are too little work for two threads, which would wait for each other."""
    monkeypatch.setattr("training.finetuning.team.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def two() -> LabelledPixels:
    return drawn(2)


@pytest.fixture(scope="module")
def whole(two: LabelledPixels, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    """An uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.finetuning.team.usable_cores", lambda: 1)
        return run(two, tmp_path_factory.mktemp("whole"))


def test_finetune_lowers_the_loss_below_the_start(whole: Finetuned) -> None:
    assert [row["epoch"] for row in whole.epochs] == [0, 1, 2, 3, 4]
    losses = [row["val_loss_calibrated"] for row in whole.epochs]
    assert losses[whole.best_epoch] == min(losses) < losses[0]
    assert whole.epochs[-1]["val_loss"] < 0.8 * whole.epochs[0]["val_loss"]
    assert whole.epochs[-1]["train_loss"] < whole.epochs[1]["train_loss"]
    assert whole.best_epoch > 0
    assert all(0 <= row["val_accuracy"] <= 1 and row["train_loss"] > 0 for row in whole.epochs)
    assert whole.epochs[1]["lr"] > whole.epochs[-1]["lr"] >= 0


def test_finetune_changes_no_bit_of_frozen_stages_and_statistics(
    two: LabelledPixels, whole: Finetuned
) -> None:
    before, after = network_of_two_stages().state_dict(), whole.backbone.network.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"3.weight", "3.bias", "4.weight", "4.bias"}


def test_finetune_returns_a_frozen_network_with_its_own_facts(whole: Finetuned) -> None:
    assert not whole.backbone.network.training
    assert not any(item.requires_grad for item in whole.backbone.network.parameters())
    facts, given = whole.backbone.facts, tiny_backbone().facts
    assert facts.source == "drawn; last stage fine-tuned on the data set"
    assert facts.weights_sha256 != given.weights_sha256
    assert len(facts.weights_sha256) == 64
    assert facts.licence == given.licence


def test_finetune_leaves_the_given_network_unchanged(two: LabelledPixels, tmp_path: Path) -> None:
    backbone = backbone_of(network_of_two_stages())
    run(two, tmp_path, dataclasses.replace(QUICK, epochs=1, unfreeze="all"), backbone=backbone)
    for name, value in network_of_two_stages().state_dict().items():
        assert torch.equal(value, backbone.network.state_dict()[name])
    assert not any(item.requires_grad for item in backbone.network.parameters())


def test_finetune_all_trains_every_parameter_but_no_statistics(
    two: LabelledPixels, tmp_path: Path
) -> None:
    tuned = run(two, tmp_path, dataclasses.replace(QUICK, epochs=2, unfreeze="all"))
    assert tuned.best_epoch > 0
    before, after = network_of_two_stages().state_dict(), tuned.backbone.network.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same == {name for name in before if "running" in name or "num_batches" in name}
    assert "all stages fine-tuned" in tuned.backbone.facts.source


def test_finetune_bytes_depend_on_the_seed_alone(
    two: LabelledPixels, whole: Finetuned, tmp_path: Path
) -> None:
    assert content(run(two, tmp_path / "again")) == content(whole)
    other = run(two, tmp_path / "other", dataclasses.replace(QUICK, seed=1))
    assert content(other) != content(whole)


def test_finetuned_graph_of_three_classes_agrees_after_export(tmp_path: Path) -> None:
    three = drawn(3)
    tuned = run(three, tmp_path)
    assert tuned.head.weight.shape == (3, 6 * BANDS)
    assert tuned.head.weight.dtype == tuned.head.bias.dtype == np.float32
    graph = load_graph(export(Classifier(tuned.backbone, tuned.head), input_px=32))
    logits = predict_logits(tuned, three, np.arange(len(three.classes)))
    found = answer(graph, three.pixels)[0].numpy()
    np.testing.assert_allclose(found, softmax(logits), atol=1e-5)
    features = Extractor(tuned.backbone)(three.pixels).numpy()
    np.testing.assert_allclose(tuned.head.logits(features), logits, atol=1e-3)


def test_validation_part_shares_no_group_with_training_part(
    two: LabelledPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    class Spy(Run):
        def __init__(self, *given: Any) -> None:
            parts.append((given[2], given[3]))
            super().__init__(*given)

    monkeypatch.setattr("training.finetuning.loop.Run", Spy)
    subset = np.arange(4, 40)
    run(two, tmp_path, dataclasses.replace(QUICK, epochs=1), subset=subset)
    ((learn, held_out),) = parts
    assert not set(two.groups[learn]) & set(two.groups[held_out])
    assert sorted([*learn, *held_out]) == subset.tolist()
    assert set(two.classes[held_out]) == {0, 1}


def test_early_stopping_returns_the_best_epoch(two: LabelledPixels, tmp_path: Path) -> None:
    config = dataclasses.replace(
        QUICK, epochs=30, patience=2, backbone_rate=0.03, augmentation=Augmentation(grey=1.0)
    )
    weights: dict[int, Tensor] = {}

    def keep(line: str) -> None:
        saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
        weights[saved["epoch"]] = saved["weights"]["network.3.weight"]

    tuned = run(two, tmp_path, config, progress=Progress(log=keep))
    losses = [row["val_loss_calibrated"] for row in tuned.epochs]
    assert len(losses) < 31
    assert 0 < tuned.best_epoch == int(np.argmin(losses)) == len(losses) - 1 - 2
    assert torch.equal(tuned.backbone.network.state_dict()["3.weight"], weights[tuned.best_epoch])
    assert not torch.equal(weights[tuned.best_epoch], weights[len(losses) - 1])


def test_finetune_returns_the_given_model_if_no_epoch_beats_the_start(
    two: LabelledPixels, tmp_path: Path
) -> None:
    backbone = backbone_of(network_of_two_stages())
    random = np.random.default_rng(0)
    noise = dataclasses.replace(two, classes=random.integers(0, 2, len(two.classes)))
    lines: list[str] = []
    config = dataclasses.replace(QUICK, backbone_rate=1.0, patience=1)
    tuned = run(noise, tmp_path, config, backbone=backbone, progress=Progress(log=lines.append))
    assert tuned.best_epoch == 0
    assert tuned.backbone is backbone
    assert len(tuned.epochs) == 2
    assert "stays as it was" in lines[-1]


@pytest.mark.parametrize("after", [1, 6, 8, 13, 20])
def test_resumed_run_ends_with_the_same_bytes(
    two: LabelledPixels, whole: Finetuned, tmp_path: Path, after: int
) -> None:
    with pytest.raises(Killed):
        run(two, tmp_path, progress=killer(after))
    lines: list[str] = []
    tuned = run(two, tmp_path, resume=True, progress=Progress(log=lines.append))
    assert lines[0].startswith("Resuming after epoch")
    assert content(tuned) == content(whole)
    assert tuned.backbone.facts == whole.backbone.facts


def test_run_resumes_after_two_kills_and_after_its_end(
    two: LabelledPixels, whole: Finetuned, tmp_path: Path
) -> None:
    for after in (3, 9):
        with pytest.raises(Killed):
            run(two, tmp_path, resume=True, progress=killer(after))
    assert content(run(two, tmp_path, resume=True)) == content(whole)
    lines: list[str] = []
    assert content(run(two, tmp_path, resume=True, progress=Progress(log=lines.append))) == content(
        whole
    )
    assert len(lines) == 1  # nothing was learnt again


def test_run_resumes_after_sigkill(two: LabelledPixels, whole: Finetuned, tmp_path: Path) -> None:
    code = f"""
    import os, signal
    from pathlib import Path
    from training.data.progress import Progress
    from tests.training.finetuning.runs import drawn, run
    from training.finetuning import team
    team.usable_cores = lambda: 1
    calls = []
    def advance(done, total):
        calls.append(done)
        if len(calls) == 9:
            os.kill(os.getpid(), signal.SIGKILL)
    run(drawn(2), Path({str(tmp_path)!r}), progress=Progress(advance=advance))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=WAIT_S, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL
    assert content(run(two, tmp_path, resume=True)) == content(whole)


def test_checkpoint_is_overwritten_without_resume(
    two: LabelledPixels, whole: Finetuned, tmp_path: Path
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"broken")
    assert content(run(two, tmp_path)) == content(whole)


def test_resume_without_checkpoint_is_logged(two: LabelledPixels, tmp_path: Path) -> None:
    lines: list[str] = []
    run(
        two,
        tmp_path,
        dataclasses.replace(QUICK, epochs=1),
        resume=True,
        progress=Progress(log=lines.append),
    )
    assert "no checkpoint to resume" in lines[0]


def test_load_refuses_a_checkpoint_of_another_run(two: LabelledPixels, tmp_path: Path) -> None:
    short = dataclasses.replace(QUICK, epochs=1)
    run(two, tmp_path, short)
    pixels = two.pixels.clone()
    pixels[7, 0, 3, 3] ^= 1
    classes = two.classes.copy()
    classes[5] = 1
    others: list[tuple[LabelledPixels, FinetuneConfig]] = [
        (dataclasses.replace(two, pixels=pixels), short),
        (dataclasses.replace(two, classes=classes), short),
        (dataclasses.replace(two, groups=np.arange(len(two.groups))), short),
        (two, dataclasses.replace(short, backbone_rate=1e-5)),
        (two, dataclasses.replace(short, augmentation=Augmentation(mirror=0.0))),
    ]
    for data, config in others:
        with pytest.raises(CheckpointMismatch, match="without --resume to start over"):
            run(data, tmp_path, config, resume=True)
    assert issubclass(CheckpointMismatch, TrainingError)


@pytest.mark.parametrize("left", [0, 1, 100, -1])
def test_load_refuses_a_truncated_checkpoint(
    two: LabelledPixels, tmp_path: Path, left: int
) -> None:
    short = dataclasses.replace(QUICK, epochs=1)
    run(two, tmp_path, short)
    data = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[:left])
    with pytest.raises(CheckpointMismatch, match="not a readable checkpoint"):
        run(two, tmp_path, short, resume=True)


def test_unwritable_checkpoint_folder_raises_output_error(
    two: LabelledPixels, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        run(two, tmp_path / "file" / "below")


def test_infinite_loss_raises_diverged(
    two: LabelledPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def huge(self: Any, step: int) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = 1e30

    config = dataclasses.replace(QUICK, backbone_rate=1.0, gradient_norm=float("inf"))
    monkeypatch.setattr(TrainingStep, "_set_rates", huge)
    with pytest.raises(Diverged, match="learning rates are too high"):
        run(two, tmp_path, config)


def test_finetune_refuses_a_class_of_one_group(two: LabelledPixels, tmp_path: Path) -> None:
    with pytest.raises(TooFewPictures):
        run(dataclasses.replace(two, groups=two.classes), tmp_path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_run_resumes_to_the_same_bytes(
    two: LabelledPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: torch.dtype
) -> None:
    monkeypatch.setattr("training.finetuning.step.half_precision", lambda device: kind)
    tuned = run(two, tmp_path / "whole")
    assert tuned.best_epoch > 0
    assert tuned.head.weight.dtype == np.float32
    assert {item.dtype for item in tuned.backbone.network.parameters()} == {torch.float32}
    with pytest.raises(Killed):
        run(two, tmp_path / "killed", progress=killer(13))
    assert content(run(two, tmp_path / "killed", resume=True)) == content(tuned)


def test_half_precision_is_off_on_the_cpu() -> None:
    assert half_precision(torch.device("cpu")) is None


def test_validation_uses_original_pictures(
    two: LabelledPixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    augment = make_augment(Augmentation())
    index_of = {item.numpy().tobytes(): index for index, item in enumerate(two.pixels)}

    def spy(picture: Tensor, random: torch.Generator) -> Tensor:
        seen.add(index_of[picture.numpy().tobytes()])
        return augment(picture, random)

    monkeypatch.setattr("training.finetuning.run.make_augment", lambda choices: spy)
    tuned = run(two, tmp_path)
    held_out = np.array(sorted(set(range(len(two.classes))) - seen))
    assert 4 <= len(held_out) <= 16  # only what is learnt from is ever changed
    logits = predict_logits(tuned, two, held_out)
    best = tuned.epochs[tuned.best_epoch]
    assert log_loss(logits, two.classes[held_out]) == pytest.approx(best["val_loss"], abs=1e-4)


def events_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of the one event file; frames are length, checksum, data, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = (folder / "events").iterdir()
    data, at = path.read_bytes(), 0
    found: dict[str, list[tuple[int, float]]] = {}
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        at += length + 16
    return found


def test_event_files_hold_each_epoch_once_after_a_resume(
    two: LabelledPixels, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(two, tmp_path, progress=killer(14))
    tuned = run(two, tmp_path, resume=True)
    found = events_in(tmp_path)
    assert set(found) == {
        "loss/train", "loss/validation", "loss/validation_calibrated",
        "accuracy/train", "accuracy/validation", "learning_rate",
    }  # fmt: skip
    for tag, name in (("loss/validation", "val_loss"), ("accuracy/train", "train_accuracy")):
        assert [step for step, _ in found[tag]] == [0, 1, 2, 3, 4]
        wanted = [row[name] for row in tuned.epochs]
        assert [value for _, value in found[tag]] == pytest.approx(wanted, rel=1e-6)
