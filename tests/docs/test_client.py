"""The snippets of docs/client.md, run as printed against a real service."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.app import create_app
from tests import ROOT, WAIT_S
from tests.process.running import running
from tests.service.fixtures import code_picture, make_engine, publish_bundle, settings_of

TEXT = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
SHELL = re.findall(r"^\$ (python .*)$", TEXT, re.M)


@pytest.fixture(scope="module", name="address")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    with running(create_app(settings_of(store), make_engine(publish_bundle(store)))) as address:
        yield address


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(code_picture(4000, format="JPEG"))
    (tmp_path / "b.jpg").write_bytes(code_picture(100, format="JPEG"))
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answered(output: str) -> bool:
    return bool(re.search(r"a\.jpg\s+mask\s+0\.9.*\n.*b\.jpg\s+no_mask\s+0\.9", output))


def test_there_are_snippets() -> None:
    assert len(PYTHON) == 2
    assert len(SHELL) == 2


@pytest.mark.parametrize("snippet", PYTHON)
def test_a_python_snippet_works_as_printed(snippet: str, address: str, folder: Path) -> None:
    code = snippet.replace("http://127.0.0.1:8000", address)
    assert answered(run([sys.executable, "-c", code], folder))


@pytest.mark.parametrize("line", SHELL)
def test_a_shell_line_works_as_printed(line: str, address: str, folder: Path) -> None:
    _, *words = line.replace("http://127.0.0.1:8000", address).split()
    output = run([sys.executable, *words], folder)
    if "--csv" in words:
        assert "a.jpg,mask,mask,0.9" in (folder / "answers.csv").read_text()
        assert '"decision": "no_mask"' in (folder / "answers.jsonl").read_text()
    else:
        assert answered(output)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_javascript_snippet_works_as_printed(address: str, folder: Path) -> None:
    (snippet,) = re.findall(r"```javascript\n(.*?)```", TEXT, re.S)
    script = folder / "snippet.mjs"
    script.write_text(snippet.replace("http://127.0.0.1:8000", address))
    assert answered(run(["node", "--no-warnings", str(script)], folder))
