"""The README against the product: commands and snippets, run as printed."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import ROOT, WAIT_S
from tests.process.test_serving_process import becomes
from tests.service.fixtures import code_picture, publish_bundle

README = (ROOT / "README.md").read_text()


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
    """Start a service with a tiny model; return its address."""
    store = tmp_path_factory.mktemp("store")
    publish_bundle(store)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "FACEMASK_STORE": str(store), "FACEMASK_PORT": "0"}
        | {"FACEMASK_GRACE_S": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[0-9.:]+", process.stdout.readline())
        assert found
        with httpx.Client(base_url=found[0], timeout=WAIT_S) as client:
            becomes(client, 200)
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    for name, code in (("mask/0000.jpg", 4000), ("no_mask/0001.jpg", 100)):
        picture = tmp_path / "sample" / name
        picture.parent.mkdir(parents=True)
        picture.write_bytes(code_picture(code, format="JPEG"))
    return tmp_path


CURL = [line[2:] for line in README.splitlines() if line.startswith("$ curl ")]


def test_readme_has_curl_lines() -> None:
    assert len(CURL) >= 3


@pytest.mark.parametrize("line", CURL)
def test_curl_line_works_as_printed(line: str, address: str, folder: Path) -> None:
    command = line.replace("http://127.0.0.1:8000", address).replace("curl ", "curl -sSf ")
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"version"' in done.stdout


def test_python_snippet_works_as_printed(address: str, folder: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run(
        [sys.executable, "-c", snippet.replace("http://127.0.0.1:8000", address)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0000.jpg mask 0.9")
    assert "0001.jpg no_mask 0.9" in done.stdout
