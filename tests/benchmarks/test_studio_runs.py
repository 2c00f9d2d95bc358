"""The benchmark of the studio's runs, in short."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.studio_runs import fill, measure


def test_runs_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(measure(*fill(tmp_path, runs=5, count=60)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "runs listed", "runs compared", "run shown",
    ]  # fmt: skip
