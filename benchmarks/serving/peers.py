"""Installation and start of each peer: the newest release, in a virtual environment of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_INSTALL_S: Final = 1200
# As the service's, so that the servers differ and not the libraries below them.
_COMMON: Final = ("torch==2.13.0", "pillow==13.0.0", "numpy==2.4.6")

_VERSIONS: Final = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Attributes:
        packages: What pip installs, at the newest release.
        field: Name of the form field that carries the picture.
        command: Arguments after the environment's Python.
    """

    packages: tuple[str, ...]
    field: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """Processes of a peer, and threads per forward pass in each."""

    workers: int
    threads: int

    @property
    def name(self) -> str:
        return f"{self.workers} x {self.threads}"


PEERS: Final[dict[str, Peer]] = {
    "fastapi": Peer(
        packages=("fastapi", "uvicorn[standard]", "python-multipart"),
        field="file",
        command=("-m", "uvicorn", "benchmarks.peers.fastapi_server:app"),
    ),
    "litserve": Peer(
        packages=("litserve", "python-multipart"),
        field="request",
        command=("-m", "benchmarks.peers.litserve_server"),
    ),
    "bentoml": Peer(
        packages=("bentoml",),
        field="images",
        command=("-m", "bentoml", "serve", "benchmarks.peers.bentoml_server:Classifier"),
    ),
}


def settings(cores: int) -> list[Setting]:
    """Return one process with all threads, and one process per core: the better one counts."""
    return [Setting(1, cores), Setting(cores, 1)] if cores > 1 else [Setting(1, 1)]


def install(name: str, cache: Path) -> tuple[Path, dict[str, str]]:
    """Make a peer's virtual environment unless it exists.

    Args:
        name: A row of `PEERS`.
        cache: Folder of the environments.

    Returns:
        Its Python, and the versions of the packages.
    """
    folder = cache / name
    python = folder / "bin" / "python"
    done = folder / "complete"
    packages = (*_COMMON, *PEERS[name].packages)
    if not done.exists() or done.read_text() != " ".join(packages):
        print(f"installing {name} into {folder}", file=sys.stderr)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--upgrade", *packages])
        done.write_text(" ".join(packages))
    names = [package.split("=")[0].split("[")[0] for package in packages]
    versions: dict[str, str] = json.loads(_run([str(python), "-c", _VERSIONS, *names]))
    return python, versions


def command(name: str, python: Path, setting: Setting, port: int) -> list[str]:
    """Return the command line that starts a peer."""
    line = [str(python), *PEERS[name].command]
    if name == "fastapi":
        line += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        line += ["--workers", str(setting.workers)] if setting.workers > 1 else []
    if name == "bentoml":
        line += ["--host", "127.0.0.1", "--port", str(port)]
    return line


def environment(model: Path, setting: Setting, port: int) -> dict[str, str]:
    """Return the environment variables that the servers in `benchmarks/peers` read."""
    return {
        "PEER_MODEL": str(model),
        "PEER_THREADS": str(setting.threads),
        "PEER_WORKERS": str(setting.workers),
        "PEER_PORT": str(port),
        "OMP_NUM_THREADS": str(setting.threads),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONFIG_OPTIONS": "services.logging.access.enabled=false",
    }


def _run(line: Sequence[str]) -> str:
    return subprocess.run(
        line, check=True, stdout=subprocess.PIPE, text=True, timeout=_INSTALL_S
    ).stdout
