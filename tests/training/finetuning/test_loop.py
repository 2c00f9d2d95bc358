"""Fine-tuning: what may change and what must not, and that a killed run ends as an unkilled one."""

import dataclasses
import hashlib
import os
import signal
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bundle.load import answer, load_graph
from models.imaging.decode import decode_image
from tests.images import DrawData
from tests.training.tiny_backbone import tiny_backbone
from training.backbones.efficientnet_lite import EfficientNetLite0
from training.backbones.pooling import BANDS
from training.backbones.registry import LoadedBackbone, load_backbone
from training.config import FitConfig
from training.data.source import open_source
from training.errors import OutputError, TooFewPictures, TrainingError, UnreadableData
from training.evaluation.head import fit_head, log_loss, softmax
from training.features.augment import Augmentation, augmenter
from training.features.extract import Extractor
from training.finetuning import run as finetuning_run
from training.finetuning.checkpoint import CHECKPOINT, CheckpointMismatch
from training.finetuning.compare import Comparison, compare, judge_difference
from training.finetuning.config import BadFinetuneConfig
from training.finetuning.loop import FinetuneConfig, Finetuned, finetune, logits_of
from training.finetuning.network import stages, unfrozen
from training.finetuning.pixels import read_pixels
from training.finetuning.run import Diverged
from training.finetuning.step import half_precision
from training.publish.export import Classifier, export

QUICK = FinetuneConfig(
    epochs=4, batch=8, backbone_rate=3e-3, head_rate=1e-2, patience=4, folds=2, draws=200
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 32 x 32 are no work for two threads, which would only wait for each other."""
    monkeypatch.setattr("training.finetuning.step.usable_cores", lambda: 1)


def network_of_two_stages() -> nn.Sequential:
    """Float (N, 3, 32, 32) -> (N, 6, 4, 4), with batch normalisation in both stages."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, 2, padding=1), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 6, 4, 4), nn.BatchNorm2d(6), nn.ReLU(),
    )  # fmt: skip
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            layer.running_mean += 0.1
    network.eval().requires_grad_(False)
    return network


def backbone_of(network: nn.Module) -> LoadedBackbone:
    return dataclasses.replace(tiny_backbone(), network=network)


@dataclasses.dataclass(frozen=True)
class Data:
    pixels: Tensor
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    count: int

    @property
    def features(self) -> NDArray[np.float32]:
        return Extractor(backbone_of(network_of_two_stages()))(self.pixels).numpy()


def drawn(count: int, each: int = 24) -> Data:
    """Pictures told apart by the direction of their stripes; two of a group side by side."""
    random = np.random.default_rng(count)
    classes = np.repeat(np.arange(count), each)
    y, x = np.mgrid[:32, :32]
    pictures = []
    for k in classes:
        along = (x, y, x + y)[k % 3]
        wave = np.sin(along * 0.9 + random.uniform(0, 6))[None] * 50
        pictures.append(
            wave + random.uniform(80, 170, (3, 1, 1)) + random.normal(0, 25, (3, 32, 32))
        )
    pixels = np.clip(np.stack(pictures), 0, 255).astype(np.uint8)
    return Data(torch.from_numpy(pixels), classes, np.arange(len(classes)) // 2, count)


def run(data: Data, folder: Path, config: FinetuneConfig = QUICK, **options: Any) -> Finetuned:
    backbone = options.pop("backbone", None) or backbone_of(network_of_two_stages())
    features = Extractor(backbone)(data.pixels).numpy()
    head = fit_head(features, data.classes, count=data.count, penalty=0.1)
    return finetune(
        backbone,
        head,
        data.pixels,
        data.classes,
        data.groups,
        count=data.count,
        config=config,
        checkpoint=folder,
        **options,
    )


def content(tuned: Finetuned) -> bytes:
    """All bytes that a run decides."""
    parts = [value.numpy().tobytes() for value in tuned.network.state_dict().values()]
    parts += [tuned.head.weight.tobytes(), tuned.head.bias.tobytes(), repr(tuned.epochs).encode()]
    return b"".join(parts)


@pytest.fixture(scope="module")
def two() -> Data:
    return drawn(2)


@pytest.fixture(scope="module")
def whole(two: Data, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    """An uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.finetuning.step.usable_cores", lambda: 1)
        return run(two, tmp_path_factory.mktemp("whole"))


def test_the_loss_falls_and_the_best_epoch_is_not_the_start(whole: Finetuned) -> None:
    assert [row["epoch"] for row in whole.epochs] == [0, 1, 2, 3, 4]
    losses = [row["val_loss_calibrated"] for row in whole.epochs]
    assert losses[whole.best_epoch] == min(losses) < losses[0]
    assert whole.epochs[-1]["val_loss"] < 0.8 * whole.epochs[0]["val_loss"]
    assert whole.epochs[-1]["train_loss"] < whole.epochs[1]["train_loss"]
    assert whole.best_epoch > 0
    assert all(0 <= row["val_accuracy"] <= 1 and row["train_loss"] > 0 for row in whole.epochs)
    assert whole.epochs[1]["lr"] > whole.epochs[-1]["lr"] >= 0


def test_the_frozen_stage_and_all_statistics_keep_every_bit(two: Data, whole: Finetuned) -> None:
    before, after = network_of_two_stages().state_dict(), whole.network.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"3.weight", "3.bias", "4.weight", "4.bias"}


def test_what_comes_back_is_frozen_and_says_what_it_is(whole: Finetuned) -> None:
    assert not whole.network.training
    assert not any(item.requires_grad for item in whole.network.parameters())
    facts, given = whole.backbone.facts, tiny_backbone().facts
    assert facts.source == "drawn; last stage fine-tuned on the data set"
    assert facts.weights_sha256 != given.weights_sha256
    assert len(facts.weights_sha256) == 64
    assert facts.licence == given.licence


def test_the_network_that_was_given_is_not_touched(two: Data, tmp_path: Path) -> None:
    backbone = backbone_of(network_of_two_stages())
    run(two, tmp_path, dataclasses.replace(QUICK, epochs=1, unfreeze="all"), backbone=backbone)
    for name, value in network_of_two_stages().state_dict().items():
        assert torch.equal(value, backbone.network.state_dict()[name])
    assert not any(item.requires_grad for item in backbone.network.parameters())


def test_all_unfreezes_all_but_the_statistics(two: Data, tmp_path: Path) -> None:
    tuned = run(two, tmp_path, dataclasses.replace(QUICK, epochs=2, unfreeze="all"))
    assert tuned.best_epoch > 0
    before, after = network_of_two_stages().state_dict(), tuned.network.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert same == {name for name in before if "running" in name or "num_batches" in name}
    assert "all stages fine-tuned" in tuned.backbone.facts.source


def test_the_same_seed_gives_the_same_bytes_and_another_other_ones(
    two: Data, whole: Finetuned, tmp_path: Path
) -> None:
    assert content(run(two, tmp_path / "again")) == content(whole)
    other = run(two, tmp_path / "other", dataclasses.replace(QUICK, seed=1))
    assert content(other) != content(whole)


def test_features_at_hand_save_a_pass_and_change_little(
    two: Data, whole: Finetuned, tmp_path: Path
) -> None:
    tuned = run(two, tmp_path, features=two.features)
    assert tuned.epochs[0]["val_loss"] == pytest.approx(whole.epochs[0]["val_loss"], abs=1e-5)
    assert tuned.epochs[-1]["val_loss"] == pytest.approx(whole.epochs[-1]["val_loss"], rel=0.05)


def test_three_classes_and_the_exported_graph_agrees(tmp_path: Path) -> None:
    three = drawn(3)
    tuned = run(three, tmp_path)
    assert tuned.head.weight.shape == (3, 6 * BANDS)
    assert tuned.head.weight.dtype == tuned.head.bias.dtype == np.float32
    graph = load_graph(export(Classifier(tuned.backbone, tuned.head), input_px=32))
    logits = logits_of(tuned, three.pixels, np.arange(len(three.classes)))
    found = answer(graph, three.pixels)[0].numpy()
    np.testing.assert_allclose(found, softmax(logits), atol=1e-5)
    features = Extractor(tuned.backbone)(three.pixels).numpy()
    np.testing.assert_allclose(tuned.head.logits(features), logits, atol=1e-3)


def test_the_validation_part_shares_no_group_with_the_training_part(
    two: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    class Spy(finetuning_run.Run):
        def __init__(self, *given: Any) -> None:
            parts.append((given[3], given[4]))
            super().__init__(*given)

    monkeypatch.setattr("training.finetuning.loop.Run", Spy)
    among = np.arange(4, 40)
    run(two, tmp_path, dataclasses.replace(QUICK, epochs=1), among=among)
    ((learn, held_out),) = parts
    assert not set(two.groups[learn]) & set(two.groups[held_out])
    assert sorted([*learn, *held_out]) == among.tolist()
    assert set(two.classes[held_out]) == {0, 1}


def test_early_stopping_brings_back_the_best_epoch(two: Data, tmp_path: Path) -> None:
    config = dataclasses.replace(
        QUICK, epochs=30, patience=2, backbone_rate=0.03, augmentation=Augmentation(grey=1.0)
    )
    weights: dict[int, Tensor] = {}

    def keep(line: str) -> None:
        saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
        weights[saved["epoch"]] = saved["weights"]["network.3.weight"]

    tuned = run(two, tmp_path, config, say=keep)
    losses = [row["val_loss_calibrated"] for row in tuned.epochs]
    assert len(losses) < 31
    assert 0 < tuned.best_epoch == int(np.argmin(losses)) == len(losses) - 1 - 2
    assert torch.equal(tuned.network.state_dict()["3.weight"], weights[tuned.best_epoch])
    assert not torch.equal(weights[tuned.best_epoch], weights[len(losses) - 1])


def test_a_run_that_never_beats_its_start_gives_back_what_it_was_given(
    two: Data, tmp_path: Path
) -> None:
    backbone = backbone_of(network_of_two_stages())
    random = np.random.default_rng(0)
    noise = dataclasses.replace(two, classes=random.integers(0, 2, len(two.classes)))
    lines: list[str] = []
    config = dataclasses.replace(QUICK, backbone_rate=1.0, patience=1)
    tuned = run(noise, tmp_path, config, backbone=backbone, say=lines.append)
    assert tuned.best_epoch == 0
    assert tuned.backbone is backbone
    assert len(tuned.epochs) == 2
    assert "stays as it was" in lines[-1]


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def killer(after: int) -> Callable[[int, int], None]:
    """A progress callback that dies after so many calls; there are 1 + 5 an epoch here."""
    calls = 0

    def count(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed

    return count


@pytest.mark.parametrize("after", [1, 6, 8, 13, 20])
def test_a_killed_run_ends_as_one_that_was_not(
    two: Data, whole: Finetuned, tmp_path: Path, after: int
) -> None:
    with pytest.raises(Killed):
        run(two, tmp_path, progress=killer(after))
    lines: list[str] = []
    tuned = run(two, tmp_path, resume=True, say=lines.append)
    assert lines[0].startswith("Going on after epoch")
    assert content(tuned) == content(whole)
    assert tuned.backbone.facts == whole.backbone.facts


def test_a_run_killed_twice_and_a_finished_one_are_resumed_too(
    two: Data, whole: Finetuned, tmp_path: Path
) -> None:
    for after in (3, 9):
        with pytest.raises(Killed):
            run(two, tmp_path, resume=True, progress=killer(after))
    assert content(run(two, tmp_path, resume=True)) == content(whole)
    lines: list[str] = []
    assert content(run(two, tmp_path, resume=True, say=lines.append)) == content(whole)
    assert len(lines) == 1  # nothing was learnt again


def test_a_process_killed_by_a_signal_is_resumed(
    two: Data, whole: Finetuned, tmp_path: Path
) -> None:
    code = f"""
    import os, signal
    from pathlib import Path
    from tests.training.finetuning.test_loop import drawn, run
    from training.finetuning import step
    step.usable_cores = lambda: 1
    calls = []
    def progress(done, total):
        calls.append(done)
        if len(calls) == 9:
            os.kill(os.getpid(), signal.SIGKILL)
    run(drawn(2), Path({str(tmp_path)!r}), progress=progress)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=60, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL
    assert content(run(two, tmp_path, resume=True)) == content(whole)


def test_without_resume_a_checkpoint_is_written_over(
    two: Data, whole: Finetuned, tmp_path: Path
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"broken")
    assert content(run(two, tmp_path)) == content(whole)


def test_nothing_to_resume_is_said(two: Data, tmp_path: Path) -> None:
    lines: list[str] = []
    run(two, tmp_path, dataclasses.replace(QUICK, epochs=1), resume=True, say=lines.append)
    assert "no checkpoint to go on from" in lines[0]


def test_a_checkpoint_of_another_run_is_refused(two: Data, tmp_path: Path) -> None:
    short = dataclasses.replace(QUICK, epochs=1)
    run(two, tmp_path, short)
    pixels = two.pixels.clone()
    pixels[7, 0, 3, 3] ^= 1
    classes = two.classes.copy()
    classes[5] = 1
    others: list[tuple[Data, FinetuneConfig]] = [
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
def test_a_checkpoint_that_is_cut_short_is_refused(two: Data, tmp_path: Path, left: int) -> None:
    short = dataclasses.replace(QUICK, epochs=1)
    run(two, tmp_path, short)
    data = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[:left])
    with pytest.raises(CheckpointMismatch, match="no checkpoint that can be read"):
        run(two, tmp_path, short, resume=True)


def test_a_folder_that_cannot_be_written_is_a_sentence(two: Data, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        run(two, tmp_path / "file" / "below")


def test_a_loss_that_is_no_number_is_a_sentence(
    two: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def huge(self: Any, step: int) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = 1e30
        return 1e30

    config = dataclasses.replace(QUICK, backbone_rate=1.0, gradient_norm=float("inf"))
    monkeypatch.setattr(finetuning_run.Run, "_set_rates", huge)
    with pytest.raises(Diverged, match="learning rates are too high"):
        run(two, tmp_path, config)


def test_a_class_of_one_group_is_refused(two: Data, tmp_path: Path) -> None:
    with pytest.raises(TooFewPictures):
        run(dataclasses.replace(two, groups=two.classes), tmp_path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_learns_too_and_is_resumed_to_the_same_bytes(
    two: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: torch.dtype
) -> None:
    monkeypatch.setattr(finetuning_run, "half_precision", lambda device: kind)
    tuned = run(two, tmp_path / "whole")
    assert tuned.best_epoch > 0
    assert tuned.head.weight.dtype == np.float32
    assert {item.dtype for item in tuned.network.parameters()} == {torch.float32}
    with pytest.raises(Killed):
        run(two, tmp_path / "killed", progress=killer(13))
    assert content(run(two, tmp_path / "killed", resume=True)) == content(tuned)


def test_the_cpu_computes_in_full_precision() -> None:
    assert half_precision(torch.device("cpu")) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch": 0}, {"patience": 0}, {"folds": 1}, {"validation_share": 0.0},
        {"validation_share": 0.6}, {"backbone_rate": 0.0}, {"head_rate": float("nan")},
    ],
)  # fmt: skip
def test_a_setting_out_of_its_range_stops_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadFinetuneConfig, match=f"{next(iter(wrong))} must be"):
        FinetuneConfig(**wrong)


def test_stages_are_told_by_resolution() -> None:
    found = [len(stage) for stage in stages(network_of_two_stages(), input_px=32)]
    assert found == [4, 4]
    thin = load_backbone("resnet50_thin").network
    sizes = [len(stage) for stage in stages(thin, input_px=64)]
    assert len(sizes) == 5
    assert sum(sizes) == len(list(thin.parameters()))
    names = {id(item): name for name, item in thin.named_parameters()}
    last = {names[id(item)] for item in unfrozen(thin, "last", input_px=64)}
    assert last == {name for name in names.values() if name.startswith("stages.3.")}
    lite = EfficientNetLite0().eval()
    every = stages(lite, input_px=64)
    assert sum(map(len, every)) == len(list(lite.parameters()))
    assert len(every) == 5


def test_squeezing_layers_do_not_end_a_stage() -> None:
    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
            return result

    network = nn.Sequential(nn.Conv2d(3, 4, 2, 2), Squeeze(), nn.Conv2d(4, 4, 2, 2), Squeeze())
    assert [len(stage) for stage in stages(network, input_px=16)] == [2, 6]


def test_a_number_of_stages_is_taken_and_too_many_are_refused() -> None:
    network = network_of_two_stages()
    assert len(unfrozen(network, 2, input_px=32)) == len(unfrozen(network, "all", input_px=32)) == 8
    for wrong in (0, 3, -1):
        with pytest.raises(BadFinetuneConfig, match="how many of the 2 stages"):
            unfrozen(network, wrong, input_px=32)


def test_augmentation_keeps_shape_and_kind_and_the_original() -> None:
    augment = augmenter(Augmentation(turn=0.5, coarse=0.5, blur=0.5, erase=0.5, grey=0.5))
    picture = drawn(2).pixels[0]
    before = picture.clone()
    made = [augment(picture, torch.Generator().manual_seed(seed)) for seed in range(60)]
    assert all(item.shape == (3, 32, 32) and item.dtype == torch.uint8 for item in made)
    assert torch.equal(picture, before)
    assert len({item.numpy().tobytes() for item in made}) == 60
    again = augment(picture, torch.Generator().manual_seed(3))
    assert torch.equal(again, made[3])


def test_no_augmentation_is_the_picture_itself() -> None:
    off = Augmentation(
        mirror=0,
        crop_area=(1, 1),
        crop_aspect=1.0,
        light=0,
        colour=0,
        grey=0,
        coarse=0,
        blur=0,
        erase=0,
    )
    picture = drawn(2).pixels[0]
    assert torch.equal(augmenter(off)(picture, torch.Generator().manual_seed(0)), picture)


def test_augmentation_leaves_the_process_s_random_state_alone() -> None:
    augment = augmenter(Augmentation())
    before = torch.get_rng_state()
    augment(drawn(2).pixels[0], torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_judging_uses_plain_pictures(
    two: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    plain = augmenter(Augmentation())
    place_of = {item.numpy().tobytes(): place for place, item in enumerate(two.pixels)}

    def spy(picture: Tensor, random: torch.Generator) -> Tensor:
        seen.add(place_of[picture.numpy().tobytes()])
        return plain(picture, random)

    monkeypatch.setattr(finetuning_run, "augmenter", lambda choices: spy)
    tuned = run(two, tmp_path)
    held_out = np.array(sorted(set(range(len(two.classes))) - seen))
    assert 4 <= len(held_out) <= 16  # only what is learnt from is ever changed
    logits = logits_of(tuned, two.pixels, held_out)
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


def test_event_files_hold_each_epoch_once_also_after_a_resume(two: Data, tmp_path: Path) -> None:
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


def test_both_ways_are_judged_on_the_same_folds(two: Data, tmp_path: Path) -> None:
    backbone = backbone_of(network_of_two_stages())
    given: dict[str, Any] = {
        "count": 2,
        "config": QUICK,
        "fit": FitConfig(draws=200, penalties=(0.1,)),
        "checkpoint": tmp_path,
    }
    data = (two.features, two.pixels, two.classes, two.groups)
    with pytest.raises(Killed):
        compare(backbone, *data, **given, progress=killer(17))
    lines: list[str] = []
    found = compare(backbone, *data, **given, resume=True, say=lines.append)
    assert found.head_only.shape == found.finetuned.shape == (48, 2)
    for fold in (0, 1):
        assert not set(two.groups[found.folds == fold]) & set(two.groups[found.folds != fold])
    assert (found.finetuned != found.head_only).any(axis=1).all()  # two models, each picture
    assert "on the same folds" in found.verdict
    assert len(found.best_epochs) == 2
    whole = run(two, tmp_path / "all")
    summary = found.summary(
        whole, two.classes, two.groups, ("bars", "waves"), config=FitConfig(draws=200)
    )
    assert summary["epochs"] == whole.epochs
    assert summary["verdict"] == found.verdict
    for name in ("head_only", "finetuned"):
        assert summary[name]["pictures"] == 48
        assert 0 <= summary[name]["balanced_accuracy"] <= 1


@pytest.mark.parametrize(
    ("up", "down", "better", "words"),
    [
        (20, 1, "finetuned", "was better"),
        (1, 20, "head_only", "was worse"),
        (4, 0, "neither", "No clear difference"),
        (0, 0, "neither", "No clear difference"),
    ],
)
def test_a_difference_is_called_only_when_it_is_clear(
    up: int, down: int, better: str, words: str
) -> None:
    classes = np.arange(200) % 2
    sure = np.eye(2)[classes]
    tuned, head = sure.copy(), sure.copy()
    head[:up] = 1 - head[:up]
    tuned[up : up + down] = 1 - tuned[up : up + down]
    blank = Comparison(head, tuned, classes, [1], 0.0, (0.0, 0.0), 1.0, "neither", "")
    found = judge_difference(blank, classes, np.arange(200), config=QUICK)
    assert found.better == better
    assert words in found.verdict
    assert f"{up} pictures gained, {down} lost" in found.verdict
    assert found.interval_95[0] <= found.difference <= found.interval_95[1]
    assert "head alone was kept" not in found.verdict
    kept = dataclasses.replace(blank, best_epochs=[0, 3])
    assert (
        "In 1 of 2 folds" in judge_difference(kept, classes, np.arange(200), config=QUICK).verdict
    )
    one_group = judge_difference(blank, classes, np.zeros(200, dtype=int), config=QUICK)
    assert one_group.better == "neither"  # pictures of one group are one witness


def test_pictures_are_decoded_as_the_service_does_in_memory_or_in_a_file(
    draw_data: DrawData, tmp_path: Path
) -> None:
    source = open_source(draw_data(tmp_path / "data", {"bar": 3, "disc": 2}))
    names = source.names()
    digests = [hashlib.sha256(source.read(name)).hexdigest() for name in names]
    wanted = torch.stack([decode_image(source.read(name), size=32) for name in names])
    done: list[int] = []
    folder = tmp_path / "checkpoint"
    held = read_pixels(source, names, digests, size=32, folder=folder, progress=done.append)
    assert torch.equal(held, wanted)
    assert sum(done) == 5
    assert not folder.exists()
    for _ in range(2):  # the second time it is there already
        mapped = read_pixels(source, names, digests, size=32, folder=folder, in_memory_bytes=0)
        assert torch.equal(mapped, wanted)
        assert [path.suffix for path in folder.iterdir()] == [".u8"]
    (tmp_path / "data" / names[0]).write_bytes(b"other")
    with pytest.raises(UnreadableData, match="has changed"):
        read_pixels(source, names, digests, size=32, folder=folder)
    (tmp_path / "data" / names[0]).unlink()
    with pytest.raises(UnreadableData, match="could be read before"):
        read_pixels(source, names, digests, size=32, folder=folder)


def test_a_file_of_pictures_that_cannot_be_written_is_a_sentence(
    draw_data: DrawData, tmp_path: Path
) -> None:
    source = open_source(draw_data(tmp_path / "data", {"bar": 1}))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        read_pixels(
            source,
            source.names(),
            ["0" * 64],
            size=32,
            folder=tmp_path / "file" / "below",
            in_memory_bytes=0,
        )


def test_every_hyper_parameter_is_explained_and_recorded() -> None:
    for item in (FinetuneConfig(), Augmentation()):
        names = [field.name for field in dataclasses.fields(item)]
        assert list(item.as_dict()) == names
        assert all(f"        {name}: " in (type(item).__doc__ or "") for name in names)
