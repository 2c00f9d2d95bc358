"""`benchmarks.http`: its table, of servers that really run."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.http import __main__ as command
from benchmarks.http.servers import STEPS


def test_http_reports_each_case_by_step_and_the_bare_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    options = ["--requests", "3", "--repeats", "2", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["benchmarks.http", *options])
    monkeypatch.setattr(command, "SIZES", {"small": (64, 48), "large": (640, 480)})
    assert command.main() == 0

    found = json.loads(file.read_text())
    assert list(found) == ["640x480", "12 MP", "640x480, refused"]
    for case, sides in found.items():
        assert [len(sides["ours"]), len(sides["bare"])] == [2, 2]
        for spent in sides["ours"]:
            steps = [spent[step] for step in STEPS]
            assert 0 < sum(steps[:-1]) < spent["application"] < spent["in all"]
            read = spent["reading and parsing"] + spent["hand-over"]
            assert (read == 0) == case.endswith("refused")

    rows = re.findall(r"^\| (.*) \|$", capsys.readouterr().out, re.M)
    assert len(rows) == len(STEPS) + 6
    assert {row.count("|") for row in rows} == {3}


def test_http_exits_on_an_unexpected_status() -> None:
    with command._running("bare") as bare, pytest.raises(RuntimeError, match="status=200"):
        bare.measure(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 429, 1)
