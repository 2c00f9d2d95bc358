"""The README against the product: tables, commands and snippets."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.errors import FacemaskError
from service.problems import STATUSES, status_of
from service.settings import Settings
from tests import ROOT
from tests.service.fixtures import code_picture, publish_bundle
from training.backbones.registry import BACKBONES
from training.config import DEFAULT_BACKBONE

README = (ROOT / "README.md").read_text()


def table(header: str) -> list[list[str]]:
    """The cells of the Markdown table whose first column is headed so."""
    lines = README.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_every_setting_is_in_the_table_with_its_default() -> None:
    documented = {row[0]: row[1].strip("`") for row in table("variable")}
    defaults = {}
    for name, field in Settings.model_fields.items():
        variable = f"`FACEMASK_{name.upper()}`"
        if name == "port":
            variable += " or `PORT`"
        defaults[variable] = str(field.default)
    assert documented == defaults


def test_every_error_code_is_in_the_table_with_its_status() -> None:
    documented = {row[0].strip("`"): int(row[1]) for row in table("code")}
    wire = {
        kind.code: int(status)
        for kind, status in STATUSES.items()
        if int(status) != 500 and issubclass(kind, FacemaskError)
    }
    assert documented == wire
    assert all(status_of(kind("x")) == STATUSES[kind] for kind in STATUSES)


def test_every_backbone_is_in_the_table() -> None:
    rows = table("`--backbone`")
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert documented == set(BACKBONES)
    for row in rows:
        for name, width in zip(re.findall(r"`(\w+)`", row[0]), row[3].split(", "), strict=True):
            assert BACKBONES[name].feature_width == int(width)
            assert BACKBONES[name].licence == row[4]
            assert ("(default)" in row[0]) == (name == DEFAULT_BACKBONE)


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        declared += extra
    names = {re.split(r"[=;\[]", requirement)[0] for requirement in declared}
    rows = table("package")
    assert {name.strip() for row in rows for name in row[0].split(",")} == names
    assert all(row[2] for row in rows)


def test_direct_dependencies_are_pinned_as_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        declared += extra
    lines = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    for requirement in declared:
        pin = re.sub(r"\[.*\]", "", requirement.split(";")[0]).strip().lower()
        assert "==" in pin, f"{pin} is not pinned"
        assert pin in lines


@pytest.fixture(name="address", scope="module")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real service with a tiny model."""
    store = tmp_path_factory.mktemp("store")
    publish_bundle(store)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "FACEMASK_STORE": str(store), "FACEMASK_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[0-9.:]+", process.stdout.readline())
        assert found
        for _ in range(200):
            if httpx.get(f"{found[0]}/health").status_code == 200:
                break
            threading.Event().wait(0.05)
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(code_picture(4000, format="JPEG"))
    (tmp_path / "b.jpg").write_bytes(code_picture(100, format="JPEG"))
    return tmp_path


CURL = [line[2:] for line in README.splitlines() if line.startswith("$ curl ")]


def test_there_are_curl_lines() -> None:
    assert len(CURL) >= 3


@pytest.mark.parametrize("line", CURL)
def test_a_curl_line_works_as_printed(line: str, address: str, folder: Path) -> None:
    command = line.replace("http://127.0.0.1:8000", address).replace("curl ", "curl -sSf ")
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"version"' in done.stdout


def test_the_python_snippet_works_as_printed(address: str, folder: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run(
        [sys.executable, "-c", snippet.replace("http://127.0.0.1:8000", address)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.jpg mask 0.9")
    assert "b.jpg no_mask 0.9" in done.stdout


def test_the_commands_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"python -m ([\w.]+)", README):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
