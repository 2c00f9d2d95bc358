"""Fine-tuning as a step of the job: the model that is published, and its metrics."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.images import DrawData
from tests.training.fitted import make_fitted
from tests.training.tiny_backbone import tiny_backbone
from training.__main__ import main
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.progress import Progress
from training.data.source import open_source
from training.evaluation.study import Study, study
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet, read_feature_set
from training.finetuning import compare as comparing
from training.finetuning import study as tuning_study
from training.finetuning.compare import Comparison
from training.finetuning.config import FinetuneConfig
from training.finetuning.study import Tuning, tune

Better = Literal["head_only", "finetuned", "neither"]
CONFIG = dataclasses.replace(FitConfig(), penalties=(1e-4,), folds=2, inner_folds=2, draws=200)
TUNING = FinetuneConfig(
    unfreeze="all",
    epochs=10,
    batch=8,
    folds=2,
    patience=10,
    draws=100,
    backbone_rate=3e-3,
    head_rate=1e-2,
)


@pytest.fixture(name="data")
def _data(tmp_path: Path, draw_data: DrawData) -> tuple[FeatureSet, Study]:
    listing = scan(open_source(draw_data(tmp_path / "data", {"bar": 30, "disc": 30})))
    with Cache(tmp_path / "cache") as cache:
        pictures = read_feature_set(listing, Extractor(tiny_backbone()), cache, CONFIG)
    return pictures, study(pictures, CONFIG)


def run(
    data: tuple[FeatureSet, Study], folder: Path, monkeypatch: pytest.MonkeyPatch, better: Better
) -> tuple[Tuning, list[str]]:
    """Run `tune` with a comparison whose verdict is fixed beforehand."""
    real = comparing.compare

    def compare(*given: Any, **options: Any) -> Comparison:
        return dataclasses.replace(real(*given, **options), better=better)

    monkeypatch.setattr(tuning_study, "compare", compare)
    lines: list[str] = []
    found = tune(
        *data,
        tiny_backbone(),
        CONFIG,
        TUNING,
        checkpoint=folder,
        resume=False,
        progress=Progress(log=lines.append),
    )
    return found, lines


def test_tune_publishes_a_clearly_better_network_with_its_own_metrics(
    data: tuple[FeatureSet, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, head_only = data
    found, lines = run(data, tmp_path / "checkpoint", monkeypatch, "finetuned")
    assert found.summary["best_epoch"] > 0
    assert found.summary["published"] == "finetuned"
    assert found.backbone.facts.weights_sha256 != tiny_backbone().facts.weights_sha256
    assert "fine-tuned" in found.backbone.facts.source
    correct = found.study.predicted == pictures.classes
    assert found.study.metrics["accuracy"] == float(correct.mean())
    assert found.study.metrics["accuracy"] == found.summary["finetuned"]["accuracy"]
    assert not np.array_equal(found.study.probabilities, head_only.probabilities)
    assert len(found.study.fold_heads) == found.study.folds.max() + 1
    assert not any("head alone is published" in line for line in lines)


@pytest.mark.parametrize("better", ["head_only", "neither"])
def test_tune_otherwise_publishes_the_head_alone_and_logs_it(
    better: Better, data: tuple[FeatureSet, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, lines = run(data, tmp_path / "checkpoint", monkeypatch, better)
    assert found.study is data[1]
    assert found.backbone.facts == tiny_backbone().facts
    assert found.summary["published"] == "head_only"
    assert {"epochs", "verdict", "head_only", "finetuned"} <= set(found.summary)
    assert "head alone is published" in lines[-1]


def test_the_options_of_the_command_line_reach_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: bytes
) -> None:
    import training.job

    seen: list[training.job.FitOptions] = []

    fitted = make_fitted(tmp_path / "store", tiny_model)

    def fit(request: training.job.FitOptions, *_: object, **__: object) -> training.job.Fitted:
        seen.append(request)
        return fitted

    monkeypatch.setattr(training.job, "fit", fit)
    for options in (
        [],
        ["--finetune"],
        ["--finetune", "all", "--epochs", "3", "--seed", "5", "--resume", "--checkpoint", "c"],
        ["--finetune", "2"],
    ):
        assert main(["fit", "data", *options]) == 0
    none, last, every, two = seen
    assert (none.finetune, none.resume, none.checkpoint) == (None, False, None)
    assert last.finetune == FinetuneConfig(unfreeze="last")
    assert every.finetune == FinetuneConfig(unfreeze="all", epochs=3, seed=5)
    assert (every.resume, every.checkpoint) == (True, Path("c"))
    assert two.finetune == FinetuneConfig(unfreeze=2)


@pytest.mark.parametrize(
    "options",
    [
        ["--finetune", "most"],
        ["--finetune", "--epochs", "0"],
        ["--finetune", "--precision", "int8"],  # said before the folder is looked for
    ],
)
def test_a_bad_option_is_one_sentence(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "data", *options]) == 1
    *steps, line = capsys.readouterr().err.splitlines()
    assert all(step.startswith("step 1 of ") for step in steps)
    assert line.startswith("error: ")
