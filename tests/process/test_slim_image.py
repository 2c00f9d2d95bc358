"""The images' packages without the parts that `ops/image.py` removes: everything still works."""

import importlib.util
import os
import socket
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests import ROOT
from tests.models.imaging.heif_files import heic
from tests.service.fixtures import code_picture, publish_bundle

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGES = PROJECT["tool"]["facemask"]["images"]
SITE = Path(sysconfig.get_paths()["purelib"])


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image", ROOT / "ops/image.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


def copy_without(target: Path, unused: list[str]) -> Path:
    """Link the installed packages into a folder, without the parts that an image removes."""
    removed = {path for pattern in unused for path in SITE.glob(pattern)}
    kept_folders = {parent for path in removed for parent in path.parents}

    def link(source: Path, to: Path) -> None:
        to.mkdir()
        for entry in source.iterdir():
            if entry in removed:
                continue
            if entry in kept_folders:
                link(entry, to / entry.name)
            elif entry.suffix != ".pth":
                (to / entry.name).symlink_to(entry)

    link(SITE, target)
    return target


def run_in(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages of a folder only."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(site), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# Everything that a request can ask for, in one process without the removed parts.
_SERVE = r"""
import asyncio, importlib.util, io, os, sys
sys.argv = ["service"]
for name in ("sympy", "networkx", "mpmath", "torch._inductor", "numpy"):
    assert importlib.util.find_spec(name) is None, f"{name} is there"
from service.app import create_app
from service.settings import Settings
import httpx
from pathlib import Path

picture = Path(os.environ["PICTURE"]).read_bytes()
heic = Path(os.environ["HEIC"]).read_bytes()

async def main():
    app = create_app(Settings())
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.02)
            for path in ("/health", "/", "/docs", "/openapi.json", "/metrics", "/v2"):
                response = await client.get(path)
                assert response.status_code == 200, (path, response.text)
            for query in ("", "?explain=true", "?faces=true"):
                files = [("files", picture), ("files", heic), ("files", b"none")]
                response = await client.post("/predict" + query, files=files)
                assert response.status_code == 200, response.text
                entries = response.json()["predictions"]
                assert ["error" in entry for entry in entries] == [False, False, True], entries
asyncio.run(main())
print("answered")
"""


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # NumPy is in no serving image, either.
    unused = [*IMAGES["serve"]["unused"], "numpy", "numpy.libs"]
    return copy_without(tmp_path_factory.mktemp("slim") / "site", unused)


def test_service_answers_without_the_removed_parts(site: Path, tmp_path: Path) -> None:
    publish_bundle(tmp_path / "store")
    (tmp_path / "a.png").write_bytes(code_picture(7))
    from PIL import Image

    (tmp_path / "a.heic").write_bytes(heic(Image.new("RGB", (64, 64), "red")))
    ended = run_in(
        site,
        "-c",
        _SERVE,
        FACEMASK_STORE=str(tmp_path / "store"),
        PICTURE=str(tmp_path / "a.png"),
        HEIC=str(tmp_path / "a.heic"),
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "answered\n"


@pytest.mark.parametrize("command", ["service", "models"])
def test_commands_start_without_a_warning(site: Path, tmp_path: Path, command: str) -> None:
    publish_bundle(tmp_path)
    arguments = {"service": ["--check"], "models": ["verify"]}[command]
    ended = run_in(site, "-m", command, *arguments, FACEMASK_STORE=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_training_imports_without_the_removed_parts(tmp_path: Path) -> None:
    """The whole run is tried in the container's test."""
    site = copy_without(tmp_path / "site", IMAGES["train"]["unused"])
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "training").rglob("*.py"))
        if path.name not in ("__main__.py", "__init__.py")
    ]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    # An optimiser imports parts of PyTorch at its first step.
    code += (
        "import torch\nlayer = torch.nn.Linear(2, 2)\nlayer(torch.ones(1, 2)).sum().backward()\n"
    )
    code += "torch.optim.AdamW(layer.parameters()).step()\n"
    # So does the tracing behind int8.
    code += "torch.fx.symbolic_trace(torch.nn.Sequential(layer))\n"
    names += IMAGES["train"]["imported"]
    ended = run_in(site, "-c", code, *names, MPLCONFIGDIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr


def test_unused_parts_are_removed_and_missing_ones_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one/tests/a.py", "one/sub/tests/b.py", "one/kept.py", "two.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    SCRIPT.remove_parts(tmp_path, ["one/**/tests", "two.py"])
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["kept.py"]
    assert "packages: 0 MB" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"two\.py of .+ is not there"):
        SCRIPT.remove_parts(tmp_path, ["two.py"])


def test_scoring_answers_without_the_removed_parts(site: Path, tmp_path: Path) -> None:
    """The serving image has it with the build argument EXTRAS=scoring."""
    publish_bundle(tmp_path / "store")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(code_picture(7))
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(tmp_path / "store")]
    done = run_in(site, "-m", "scoring", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 inputs")


def test_requirements_are_those_of_the_extras() -> None:
    with pytest.raises(SystemExit, match=r"has no extra scorin\."):
        SCRIPT.requirements_of(PROJECT["project"], ["serving", "scorin"])
    found = SCRIPT.requirements_of(PROJECT["project"], ["serving", "heic"])
    assert found[0].startswith("torch==")
    assert any(each.startswith("fastapi==") for each in found)
    assert any(each.startswith("pi-heif==") for each in found)
    assert not any(each.startswith("scipy==") for each in found)


@pytest.mark.parametrize("index", ["http://127.0.0.1:9/whl", "no address"])
def test_unreachable_torch_index_ends_the_build_with_a_sentence(index: str) -> None:
    with pytest.raises(SystemExit, match=r"cannot be reached .+\n.*TORCH_INDEX"):
        SCRIPT.check_torch_index(index)


def test_unreachable_package_index_ends_the_build_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=r"pip finds no package .+\n.*PIP_INDEX_URL"):
        SCRIPT.check_package_index()


def test_index_that_never_answers_ends_the_build_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Packets to a filtered address are dropped: no refusal comes, and each address takes long."""
    monkeypatch.setattr(SCRIPT, "_MAX_PROBE_S", 1)
    monkeypatch.chdir(ROOT)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        monkeypatch.setenv("PIP_INDEX_URL", index)
        with pytest.raises(SystemExit, match=r"cannot be reached \(no answer in 1 s\)"):
            SCRIPT.check_torch_index(index)
        with pytest.raises(SystemExit, match=r"pip finds no package .+ tried for 1 s"):
            SCRIPT.check_package_index()


def test_image_script_is_in_the_build_context() -> None:
    assert "!ops/image.py" in (ROOT / ".dockerignore").read_text().splitlines()
