"""Installs the packages of an image, without the parts of them that nothing in it uses.

    python image.py serve|train [TORCH_INDEX ["EXTRA ..."]]

Run by both Dockerfiles, in one layer: what is removed takes no room. The extras and the parts to
remove stand in `pyproject.toml` under `[tool.facemask.images]`. The indexes are tried first: one
that cannot be reached ends the build in less than a minute, with a sentence.
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tomllib
import urllib.request
import warnings
from pathlib import Path
from typing import Any, Final

_TORCH_PACKAGES: Final = re.compile(r"(torch|torchvision)==")
# Small, without dependencies, and needed anyway.
_PROBE: Final = "annotated-types"
# Seconds for one connection; of PyTorch's and of PyPI's host there are eight addresses each.
_PROBE_S: Final = 15
# Seconds for one index, all addresses and the look-up of its name included.
_MAX_PROBE_S: Final = 50
# For pip, which waits and tries again for each package.
_PATIENCE: Final = ("--timeout", "30", "--retries", "3")
_CONSTRAINTS: Final = ("--constraint", "constraints.txt")


def main(image: str, torch_index: str = "", extras: str = "") -> None:
    """Install and trim the packages of an image, with further extras than its own."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    settings = project["tool"]["facemask"]["images"][image]
    requirements = requirements_of(project["project"], [*settings["extras"], *extras.split()])
    if torch_index:
        check_torch_index(torch_index)
    check_package_index()
    torch = [name for name in requirements if _TORCH_PACKAGES.match(name)]
    if torch_index:  # nothing but PyTorch comes from there
        _pip("install", *_PATIENCE, "--no-compile", "--no-deps", "--index-url", torch_index, *torch)
    _pip("install", *_PATIENCE, "--no-compile", *_CONSTRAINTS, *requirements)
    site = Path(sysconfig.get_paths()["purelib"])
    remove_parts(site, settings["unused"])
    compile_modules(site, settings["large"], settings["imported"])


def requirements_of(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Return the requirements of the project and of some of its extras.

    Raises:
        SystemExit: The project has no such extra.
    """
    optional = project["optional-dependencies"]
    if unknown := set(extras) - optional.keys():
        sys.exit(f"error: pyproject.toml has no extra {', '.join(sorted(unknown))}.")
    return [*project["dependencies"], *(each for extra in extras for each in optional[extra])]


def check_torch_index(index: str) -> None:
    """End the program with a sentence if PyTorch's index cannot be reached."""
    address = f"{index.rstrip('/')}/torch/"
    failures = [f"no answer in {_MAX_PROBE_S} s"]

    def probe() -> None:
        try:
            urllib.request.urlopen(address, timeout=_PROBE_S).close()  # noqa: S310  the builder's
            failures.clear()
        except (OSError, ValueError) as error:
            failures[0] = str(getattr(error, "reason", error))

    thread = threading.Thread(target=probe, daemon=True)  # a look-up of a name has no timeout
    thread.start()
    thread.join(_MAX_PROBE_S)
    if failures:
        sys.exit(
            f"error: {address} cannot be reached ({failures[0]}).\n"
            "The build argument TORCH_INDEX names the index of PyTorch's CPU builds: give it a "
            "mirror's address, or leave it empty (--build-arg TORCH_INDEX=, or TORCH_INDEX= before "
            "docker compose) to take PyTorch from pip's own index; from PyPI that brings "
            "gigabytes of CUDA."
        )


def check_package_index() -> None:
    """End the program with a sentence if pip's own index cannot be reached."""
    with tempfile.TemporaryDirectory() as folder:
        patience = ("--timeout", str(_PROBE_S), "--retries", "1")
        started = time.monotonic()
        try:
            probe = ("download", *patience, *_CONSTRAINTS, "--no-deps", "--dest", folder, _PROBE)
            _pip(*probe, max_s=_MAX_PROBE_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            sys.exit(
                f"error: pip finds no package {_PROBE} on its index, tried for "
                f"{time.monotonic() - started:.0f} s: its message is above.\n"
                "Behind a proxy, build with --build-arg HTTPS_PROXY=http://...; with a mirror, "
                "with --build-arg PIP_INDEX_URL=https://..."
            )


def remove_parts(site: Path, patterns: list[str]) -> None:
    """Remove files and folders from the installed packages, by patterns below their folder.

    Raises:
        SystemExit: A pattern matches nothing: a package has changed, and the list must, too.
    """
    before = _megabytes(site)
    for pattern in patterns:
        found = sorted(site.glob(pattern))
        if not found:
            sys.exit(f"error: {pattern} of [tool.facemask.images] is not there.")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)  # in a folder that has gone
    sys.stdout.write(f"packages: {_megabytes(site)} MB, {before} MB before\n")


def compile_modules(site: Path, large: list[str], imported: list[str]) -> None:
    """Compile the installed modules, of large packages only those that some imports need.

    A container's root is read-only: what is not compiled now is compiled at each start.

    Args:
        site: Folder of the installed packages.
        large: Folders of packages of which most modules are never imported.
        imported: Modules to import.
    """
    left_out = "|".join(re.escape(str(site / name)) + "/" for name in large)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old syntax in packages
        compileall.compile_dir(site, quiet=1, rx=re.compile(left_out))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", code, *imported], env=environment, check=True)  # noqa: S603


def _megabytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 10**6


def _pip(command: str, *arguments: str, max_s: float | None = None) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-input",
    ]
    subprocess.run([*pip, command, *arguments], check=True, timeout=max_s)  # noqa: S603  own words


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(error.cmd[2:4])} ended with status {error.returncode}.")
