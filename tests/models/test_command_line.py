"""The command `facemask`, which runs the command lines of the installed packages."""

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

import models
import training.__main__
from models import command_line
from tests import ROOT, WAIT_S


def test_help_lists_every_command_and_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "find_spec", lambda name: name != "service" or None)
    assert command_line.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("fit", "audit", "sample", "serve", "models", "studio"):
        assert f"\n  {name} " in out
    (line,) = (line for line in out.splitlines() if line.startswith("  serve "))
    assert line.endswith("(not installed here)")
    assert "fit      train a classifier and publish it\n" in out


def test_version_is_that_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--version"]) == 0
    version = capsys.readouterr().out
    assert version == f"facemask {models.__version__}\n"
    for package in ("training", "models", "scoring", "studio", "service"):
        with pytest.raises(SystemExit) as caught:
            import_module(f"{package}.__main__").main(["--version"])
        assert caught.value.code == 0
        assert capsys.readouterr().out == version


def test_a_command_runs_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def main(argv: list[str]) -> int:
        seen.append(argv)
        return 7

    monkeypatch.setattr(training.__main__, "main", main)
    assert command_line.main(["audit", "pictures", "--no-model"]) == 7
    assert seen == [["audit", "pictures", "--no-model"]]


def test_unknown_and_missing_commands_are_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["train"]) == 2
    assert "no command 'train': there are fit, audit" in capsys.readouterr().err
    assert command_line.main([]) == 2
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    assert command_line.main(["serve"]) == 1
    assert "needs the package service" in capsys.readouterr().err


def test_the_console_script_is_this_module() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["facemask"] == "models.command_line:run"
    done = subprocess.run(
        [sys.executable, "-m", "models.command_line", "models", "list", "--store", "/nonexistent"],
        cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "/nonexistent holds no version" in done.stderr
