"""Short form of `checks.scoring`, and proof that it finds faults."""

import shutil
from pathlib import Path

import pytest

from checks.scoring import compare, main


def test_killed_runs_lose_and_double_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pictures", "3000", "--kills", "4", "--out", str(tmp_path)]
    assert main(arguments) == 0, capsys.readouterr().out
    assert "| workers killed | 4 |" in capsys.readouterr().out

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first, second, *_ = sorted(killed.glob("*.parquet"))
    shutil.copy(first, killed / "again.parquet")
    second.unlink()
    (killed / ".half.partial").write_bytes(b"")
    faults = compare(whole, killed, 3000)
    assert faults == {
        "inputs without a row": 250,
        "inputs with several rows": 250,
        "shards with other bytes": 1,
        "other files": 1,
    }
