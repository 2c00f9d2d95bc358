"""Comparison of fine-tuning with the head alone."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.finetuning.runs import (
    QUICK,
    Killed,
    backbone_of,
    drawn,
    features_of,
    killer,
    network_of_two_stages,
    run,
)
from training.config import FitConfig
from training.data.progress import Progress
from training.finetuning.compare import Comparison, compare, decide
from training.finetuning.pixels import LabelledPixels


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 32 x 32 are too little work for two threads, which would wait for each other."""
    monkeypatch.setattr("training.finetuning.team.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def two() -> LabelledPixels:
    return drawn(2)


def test_compare_predicts_with_both_models_on_the_same_folds(
    two: LabelledPixels, tmp_path: Path
) -> None:
    backbone = backbone_of(network_of_two_stages())
    given: dict[str, Any] = {
        "config": QUICK,
        "fit": FitConfig(draws=200, penalties=(0.1,)),
        "checkpoint": tmp_path,
    }
    data = (features_of(two), two)
    with pytest.raises(Killed):
        compare(backbone, *data, **given, progress=killer(17))
    lines: list[str] = []
    found = compare(backbone, *data, **given, resume=True, progress=Progress(log=lines.append))
    assert found.head_only.shape == found.finetuned.shape == (48, 2)
    for fold in (0, 1):
        assert not set(two.groups[found.folds == fold]) & set(two.groups[found.folds != fold])
    assert (found.finetuned != found.head_only).any(axis=1).all()  # two models, each picture
    assert "on the same folds" in found.verdict
    assert len(found.best_epochs) == 2
    whole = run(two, tmp_path / "all")
    summary = found.summary(whole, two, ("bars", "waves"))
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
def test_decide_needs_interval_and_sign_test(up: int, down: int, better: str, words: str) -> None:
    classes = np.arange(200) % 2
    sure = np.eye(2)[classes]
    tuned, head = sure.copy(), sure.copy()
    head[:up] = 1 - head[:up]
    tuned[up : up + down] = 1 - tuned[up : up + down]
    data = LabelledPixels(torch.empty(0), classes, np.arange(200))
    blank = Comparison(head, tuned, classes, [1])
    found = decide(blank, data, config=QUICK)
    assert found.better == better
    assert words in found.verdict
    assert f"{up} pictures gained, {down} lost" in found.verdict
    assert found.interval_95[0] <= found.difference <= found.interval_95[1]
    assert "head alone was kept" not in found.verdict
    kept = dataclasses.replace(blank, best_epochs=[0, 3])
    assert "In 1 of 2 folds" in decide(kept, data, config=QUICK).verdict
    one_group = dataclasses.replace(data, groups=np.zeros(200, dtype=int))
    assert decide(blank, one_group, config=QUICK).better == "neither"  # one group is one witness
