"""Speed of two checkouts over the same bundle and the same images, in turns in one run.

    python -m benchmarks.versions OTHER STORE [--fit FOLDER] [--repeats 5] [--seconds 5]

OTHER is a checkout of another version, STORE a store that both can open. Each repeat drives the
service of OTHER and of this checkout one after the other: one image per request at 32 connections,
16 per request at 8, and an overload (256 impatient connections against a queue of 16 pictures),
of which refusals per second and good answers per second are shown. With --fit, each repeat trains
on FOLDER with an empty feature cache, too. Prints this checkout's rate divided by OTHER's: median
of the repeats, lowest and highest in brackets; above 1 is faster. Takes about a minute per repeat
of serving and two per repeat of training; keep other processes off the machine.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.serving.bench import generate
from benchmarks.serving.figures import Spread, ratio
from benchmarks.serving.pictures import SIZES, photographs
from benchmarks.serving.plan import Plan
from benchmarks.serving.processes import free_port, running
from benchmarks.serving.wire import request_bytes

HERE: Final = Path(__file__).resolve().parent.parent
_IMAGES: Final = 16
_OVERLOAD: Final = "overload"
# Name: images per request, connections, settings of the service.
CASES: Final[dict[str, tuple[int, int, dict[str, str]]]] = {
    "1 per request, 32 connections": (1, 32, {}),
    "16 per request, 8 connections": (16, 8, {}),
    _OVERLOAD: (1, 256, {"FACEMASK_MAX_WAITING": "16"}),
}


def main() -> int:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    trees = {"other": arguments.other.resolve(), "this": HERE}
    rates: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            # Who begins takes turns, as a machine may slow down within a repeat.
            for side in sorted(trees, reverse=bool(repeat % 2)):
                measured = _serve(
                    trees[side], arguments.store.resolve(), Path(folder), arguments.seconds
                )
                if arguments.fit:
                    measured["training runs"] = _fit(trees[side], arguments.fit.resolve())
                for name, rate in measured.items():
                    rates.setdefault(name, {}).setdefault(side, []).append(rate)
    for name, sides in rates.items():
        print(
            f"{name}: {ratio(sides['this'], sides['other']).text(3)}; per second: other "
            f"{Spread.of(sides['other']).text(3)}, this {Spread.of(sides['this']).text(3)}"
        )
    return 0


def _serve(tree: Path, store: Path, folder: Path, seconds: float) -> dict[str, float]:
    """Return the good answers per second of each case, and the refusals under overload."""
    images = photographs(SIZES["640x480"], count=_IMAGES, seed=0)
    rates = {}
    for name, (per_request, connections, settings) in CASES.items():
        requests = [
            request_bytes(images[at : at + per_request], path="/predict", field="files")
            for at in range(0, _IMAGES, per_request)
        ]
        files = []
        for index, request in enumerate(requests):
            files.append(str(folder / f"{per_request}-{index}.http"))
            Path(files[-1]).write_bytes(request)
        port = free_port()
        first = request_bytes(images[:1], path="/predict", field="files")
        with running(
            [sys.executable, "-c", _IN_TREE.format(tree=str(tree), module="service")],
            port=port,
            request=first,
            environment=settings
            | {"FACEMASK_STORE": str(store), "FACEMASK_PORT": str(port), "PYTHONPATH": str(tree)},
            log=folder / "service.log",
        ):
            plan = Plan(
                port,
                files,
                per_request,
                connections,
                warm_s=1.0,
                seconds=seconds,
                obey_retry_after=False,
            )
            outcome = generate(plan, folder)
        rates[name] = outcome["images"] / outcome["window_s"]
        if name == _OVERLOAD:
            rates["refusals under overload"] = len(outcome["refusals_ms"]) / outcome["window_s"]
    return rates


def _fit(tree: Path, data: Path) -> float:
    """Return training runs per second, from an empty feature cache."""
    with tempfile.TemporaryDirectory() as folder:
        command = _IN_TREE.format(tree=str(tree), module="training")
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-c", command, "fit", str(data)),
                *("--out", f"{folder}/store", "--cache", f"{folder}/cache"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return 1 / (time.perf_counter() - began)


# An editable installation of this checkout must not hide the other one.
_IN_TREE: Final = (
    "import os, runpy, sys; os.chdir({tree!r}); sys.path.insert(0, {tree!r}); "
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


if __name__ == "__main__":
    sys.exit(main())
