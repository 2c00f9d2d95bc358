"""`benchmarks.accuracy`: combinations of options, tables, plot, a short run."""

import dataclasses
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accuracy
from benchmarks.accuracy import settings
from benchmarks.accuracy_tables import plot, tables
from tests.images import DrawData
from training.config import FitConfig


@dataclasses.dataclass(frozen=True)
class QuickConfig(FitConfig):
    penalties: tuple[float, ...] = (0.1,)
    folds: int = 2
    inner_folds: int = 2
    draws: int = 200


@pytest.fixture(autouse=True)
def keep_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_settings_are_all_combinations_of_options() -> None:
    assert settings([]) == [{}]
    assert settings(["precision=fp32,int8", "strict"]) == [
        {"precision": "fp32"},
        {"precision": "fp32", "strict": None},
        {"precision": "int8"},
        {"precision": "int8", "strict": None},
    ]


def result(share: float, *, answered: float | None = 0.9) -> dict[str, Any]:
    part = {"name": "hand", "pictures": 12, "right": 9, "accuracy_interval_95": [0.47, 0.92]}
    row = {
        "pictures": 40,
        "balanced_accuracy": share,
        "balanced_accuracy_interval_95": [share - 0.1, share],
        "answered_accuracy": answered,
    }
    return {
        "training_s": 3.0,
        "precision": "fp32",
        "penalty": 0.1,
        "sets": {
            "cross-validation": row | {"slices": []},
            "no_mask=/far/away/hard": row | {"slices": [{"attribute": "folder", "slices": [part]}]},
        },
        "others": {
            "/far/things": {
                "pictures": 8,
                "decisions": {"mask": 0.25, "uncertain": 0.75},
                "unfamiliar": 0.5,
            }
        },
    }


def test_tables_omit_columns_without_values() -> None:
    text = tables({"seed 0": result(0.9), "seed 1": result(0.8, answered=None)})
    head, _, *rows = text.splitlines()
    assert head == (
        "| setting | tested on | pictures | balanced accuracy | 95 % interval | accuracy of those |"
    )
    assert rows[1] == "| seed 0 | hard (no_mask) | 40 | 90.0% | 80.0% to 90.0% | 90.0% |"
    assert rows[3] == "| seed 1 | hard (no_mask) | 40 | 80.0% | 70.0% to 80.0% |  |"
    assert "| hard (no_mask) | hand | 3 of 12 (8% to 53%) | 3 of 12 (8% to 53%) |" in rows
    assert "| seed 0 | things | 8 | mask 25.0%, uncertain 75.0% | 50.0% |" in rows
    assert "Brier" not in text


def test_plot_shows_every_setting(tmp_path: Path) -> None:
    plot({"seed 0": result(0.9), "seed 1": result(1.0)}, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert "</svg>" in text
    assert text.count("<!-- seed ") == 2


def test_accuracy_trains_evaluates_and_writes_json(
    tmp_path: Path,
    draw_data: DrawData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 12})
    hard = draw_data(tmp_path / "hard", {"night": 3, "fog": 2}, seed=3)
    monkeypatch.setattr("training.cli.fit.FitConfig", QuickConfig)
    command = [
        "accuracy", str(data), "--test", f"disc={hard}", "--other", str(hard),
        "--vary", "precision=fp32", "--json", str(tmp_path / "found.json"),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    assert accuracy.main() == 0
    text = capsys.readouterr().out
    (found,) = json.loads((tmp_path / "found.json").read_text()).values()
    assert set(found["sets"]) == {"cross-validation", f"disc={hard}"}
    hard_set = found["sets"][f"disc={hard}"]
    assert hard_set["pictures"] == 5
    assert {row["name"] for row in hard_set["slices"][0]["slices"]} == {"night", "fog"}
    (said,) = found["others"].values()
    assert said["pictures"] == 5
    assert sum(said["decisions"].values()) == pytest.approx(1)
    # The same pictures, so the same answers: those right are those called disc, but the uncertain.
    answered = hard_set["answered"] * (hard_set["answered_accuracy"] or 0)
    assert said["decisions"].get("disc", 0) == pytest.approx(answered)
    assert "| precision fp32 | hard (disc) | 5 |" in text


def test_accuracy_exits_if_training_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["accuracy", str(tmp_path / "absent")])
    assert accuracy.main() == 1
    assert "absent does not exist" in capsys.readouterr().err
