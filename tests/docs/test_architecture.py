"""Imports run one way, and nothing happens at import."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

FORBIDDEN = {
    "models": {
        "training", "service", "tests", "torchvision", "fastapi", "starlette", "uvicorn",
        "sklearn", "numpy", "scipy", "onnx", "imagehash", "tqdm",
    },
    "service": {
        "training", "tests", "torchvision", "sklearn", "numpy", "scipy", "onnx", "imagehash",
        "tqdm",
    },
    "training": {"service", "tests", "fastapi", "starlette", "uvicorn"},
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.add(ast.unparse(node.args[0]).strip("'").split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 3
    for path in files:
        assert not imported(path) & FORBIDDEN[package], path


def test_torchvision_has_one_door() -> None:
    users = {
        path.name for path in (ROOT / "training").rglob("*.py") if "torchvision" in imported(path)
    }
    assert users == {"torchvision_compat.py"}


def test_pictures_are_opened_for_the_model_in_one_place_only() -> None:
    for package in ("service", "models"):
        for path in (ROOT / package).rglob("*.py"):
            if path != ROOT / "models" / "imaging" / "decode.py":
                assert "PIL" not in imported(path), path


# Libraries may look through the environment as they load; our own files may not.
SPY = """
import os, sys
class Environ(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while "frozen" in frame.f_code.co_filename or frame.f_code.co_filename == os.__file__:
            frame = frame.f_back
        part = os.path.relpath(frame.f_code.co_filename).split(os.sep)[0]
        if part in ("models", "training", "service"):
            raise SystemExit(f"{key} read at import by {frame.f_code.co_filename}")
        return super().__getitem__(key)
os.environ.__class__ = Environ
"""


def after_import(module: str, expression: str) -> str:
    code = f"{SPY}\nimport {module}\nprint({expression})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"FACEMASK_CACHE": "x", "FACEMASK_PORT": "nonsense"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_training_command_line_loads_no_heavy_library() -> None:
    heavy = ("torch", "numpy", "sklearn", "PIL", "onnx")
    found = after_import("training.__main__", f"[m for m in {heavy} if m in sys.modules]")
    assert found == "[]"


def test_the_service_s_command_line_loads_no_server_before_it_has_a_port() -> None:
    found = after_import(
        "service.__main__", "[m for m in ('uvicorn', 'fastapi') if m in sys.modules]"
    )
    assert found == "[]"


def test_importing_the_service_reads_no_setting_and_starts_nothing() -> None:
    found = after_import(
        "service.app",
        "__import__('threading').active_count(), "
        "[m for m in ('training', 'torchvision', 'sklearn') if m in sys.modules]",
    )
    assert found == "1 []"


def test_importing_the_job_reads_no_setting_and_loads_no_weights() -> None:
    found = after_import(
        "training.job",
        "__import__('threading').active_count(), [m for m in ('torchvision', 'service', 'onnx') "
        "if m in sys.modules]",
    )
    assert found == "1 []"
