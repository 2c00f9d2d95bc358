"""The Makefile: what each target installs, and the box at the end of `make run`."""

import re
import subprocess
import tomllib

import pytest

from scripts.next_steps import box
from service.settings import Settings
from tests import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def dry_run(target: str) -> str:
    """Return the commands of a target in a clone without a virtual environment."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", target, "TORCH_INDEX=", "VENV=nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def installed_extras(commands: str) -> list[set[str]]:
    return [set(found.split(",")) for found in re.findall(r"--editable '\.\[(.+?)\]'", commands)]


@pytest.mark.parametrize("target", ["install", "run"])
def test_use_installs_no_development_tools(target: str) -> None:
    commands = dry_run(target)
    (extras,) = installed_extras(commands)
    assert extras == set(EXTRAS) & {"training", "serving", "studio", "faces", "heic"}
    assert "--quiet" not in commands  # or nothing moves for minutes
    assert "Installing what training, the service and the studio need" in commands


@pytest.mark.parametrize("target", ["test", "check", "lint", "types"])
def test_development_installs_everything(target: str) -> None:
    *_, extras = installed_extras(dry_run(target))
    assert extras >= {"training", "serving", "studio", "faces", "heic", "tracing", "development"}
    assert not extras - set(EXTRAS)


def test_run_ends_in_the_box_and_the_servers() -> None:
    *_, before, last = dry_run("run").strip().splitlines()
    assert before.endswith("-m scripts.next_steps")
    assert last.endswith("-m studio --with-service")


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")]
)
def test_box_names_addresses_and_commands(host: str, shown: str) -> None:
    text = "\n".join(box(Settings(host=host, port=8123)))
    for address in ("", "/report", "/docs"):
        assert f"http://{shown}:8123{address}  " in text
    for command in ("Ctrl-C", "make run", "python -m service", "python -m training fit FOLDER"):
        assert command in text
