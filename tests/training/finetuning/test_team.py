"""Fine-tuning by several processes of torchrun: the result of one, also after one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.bundle.store import versions
from tests import ROOT
from tests.images import DrawData
from tests.training.finetuning.runs import QUICK, drawn, run
from training.finetuning.checkpoint import CHECKPOINT
from training.finetuning.loop import Finetuned

SHORT, LONG = 4, 25  # epochs
_END_S = 900.0  # bounds a hang: several processes import PyTorch, on a loaded machine


def start(
    folder: Path, processes: int, epochs: int, *options: str, holds: bool = False
) -> subprocess.Popen[str]:
    """Start the drawn run."""
    folder.mkdir()
    module = ["tests.training.finetuning.team_run", str(folder), str(epochs)]
    if holds:
        module.append("hold")
    return torchrun(f"--nproc-per-node={processes}", *options, "--module", *module)


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    """Start torchrun on this machine."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def result_of(process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    """Wait for the end, and return what rank 0 has written."""
    output, _ = process.communicate(timeout=_END_S)
    assert process.returncode == 0, output
    found: dict[str, Any] = torch.load(folder / "result.pt", weights_only=True)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    """The same run in this process alone, on one thread as there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.finetuning.team.usable_cores", lambda: 1)
        return run(drawn(2), tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_fit_what_one_does_but_for_the_order_of_sums(
    tmp_path: Path, alone: Finetuned, processes: int
) -> None:
    """A gradient is a sum over b = 8 pictures and their pixels, in fp32 with eps = 6e-8.

    Another order changes it by about sqrt(terms) * eps, 64 terms at most here per position, and
    AdamW's step by as large a share: 5e-7 of a rate of 3e-3, in 24 steps 4e-8. Weights of size 1
    are rounded by 6e-8 in each step. A batch cut differently, one gradient counted twice, or
    another random draw, changes weights by whole steps: 3e-3.
    """
    assert QUICK.batch == 8
    found = result_of(start(tmp_path / "team", processes, SHORT), tmp_path / "team")
    assert found["best_epoch"] == alone.best_epoch > 0
    wanted = alone.backbone.network.state_dict()
    for name, value in found["network"].items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-6)
    for part, given in zip(found["head"], (alone.head.weight, alone.head.bias), strict=True):
        np.testing.assert_allclose(part.numpy(), given, rtol=1e-5, atol=1e-5)
    for row, other in zip(found["epochs"], alone.epochs, strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    # The first batch of an epoch has 8 pictures, and the last one fewer than the processes.
    written = {path.relative_to(tmp_path / "team").parts[0] for path in tmp_path.rglob("*.*")}
    assert written == {"checkpoint", "result.pt"}


def test_run_goes_on_after_a_process_is_killed_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = start(whole, 2, LONG)
    wanted = result_of(undisturbed, whole)
    disturbed = start(cut, 2, LONG, "--max-restarts=1", holds=True)
    deadline = time.monotonic() + _END_S
    while not epochs_saved(cut) >= 2:
        assert time.monotonic() < deadline
        assert disturbed.poll() is None
        time.sleep(0.01)
    os.kill(int((cut / "pid-1").read_text()), signal.SIGKILL)
    found = result_of(disturbed, cut)
    assert (wanted.pop("restarts"), found.pop("restarts")) == (0, 1)
    assert len(found["epochs"]) == LONG + 1
    for name, value in wanted["network"].items():
        assert torch.equal(found["network"][name], value)
    for part, given in zip(found["head"], wanted["head"], strict=True):
        assert torch.equal(part, given)
    assert found["epochs"] == wanted["epochs"]


def epochs_saved(folder: Path) -> int:
    """Return the number of epochs in a checkpoint; -1 if there is none."""
    path = folder / "checkpoint" / CHECKPOINT
    return int(torch.load(path, weights_only=True)["epoch"]) if path.exists() else -1


def test_fit_publishes_once_and_prints_once(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 12})
    fit = torchrun(
        "--nproc-per-node=2", "--module", "training", "fit", str(data), "--finetune",
        "--epochs=1", "--backbone=resnet50_thin_160", "--views=0",
        f"--out={tmp_path / 'store'}", f"--cache={tmp_path / 'cache'}",
    )  # fmt: skip
    output, _ = fit.communicate(timeout=_END_S)
    assert fit.returncode == 0, output
    (version,) = versions(tmp_path / "store")
    summary = json.loads((tmp_path / "store" / version / "summary.json").read_text())
    assert summary["finetuning"]["epochs"][-1]["epoch"] == 1
    lines = output.splitlines()
    assert lines.count(str(tmp_path / "store" / version)) == 1
    assert sum("Fold 1 of 3" in line for line in lines) == 1
    (pixels,) = (tmp_path / "cache" / "finetune").glob("pixels-*")
    assert pixels.stat().st_size == 24 * 3 * 160 * 160


def test_torchrun_without_finetune_is_refused(tmp_path: Path) -> None:
    fit = torchrun("--nproc-per-node=2", "--module", "training", "fit", str(tmp_path))
    output, _ = fit.communicate(timeout=_END_S)
    assert fit.returncode == 1
    assert "error: Only --finetune uses the processes that torchrun starts." in output
