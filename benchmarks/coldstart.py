"""Seconds from the start of the process to the first correct answer, by step.

    python -m benchmarks.coldstart STORE [--repeats 7]

STORE is a folder of bundles; the service is started on the current one with the settings of the
environment, and gets its first golden image until it answers as the manifest says. Each repeat
alternates with the steps that come before the service (the interpreter, PyTorch alone, the
application's imports), so that all meet the same state of the machine. Prints median, lowest,
highest.
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from models.bundle.files import read_manifest
from models.bundle.manifest import GoldenPicture
from models.bundle.store import current_version

_WAIT_S = 60.0
_POLL_S = 0.01
_IMPORTS = {
    "the interpreter": "pass",
    "PyTorch": "import torch",
    "all that serving imports": "import uvicorn, uvloop, httptools, service.app",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coldstart")
    parser.add_argument("store", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.store / current_version(arguments.store))
    golden, tolerance = manifest.golden.pictures[0], manifest.golden.tolerance
    took: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for step, code in _IMPORTS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            took.setdefault(f"{step}, alone", []).append(time.perf_counter() - began)
        for step, seconds in _start(arguments.store, golden, tolerance).items():
            took.setdefault(step, []).append(seconds)
    print(f"{manifest.backbone.name}, {os.cpu_count()} cores, {arguments.repeats} repeats\n")
    print("| from the start of the process | s | lowest | highest |\n|---|---|---|---|")
    for step, times in took.items():
        print(f"| {step} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")
    return 0


def _start(store: Path, golden: GoldenPicture, tolerance: float) -> dict[str, float]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env={**os.environ, "FACEMASK_STORE": str(store), "FACEMASK_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://([0-9.]+):(\d+)", process.stdout.readline())
        assert found, "the service did not start"
        steps = {"service: it listens": time.perf_counter() - began}
        end = began + _WAIT_S
        while (answer := _ask(found[1], int(found[2]), golden.picture)) is None:
            assert time.perf_counter() < end, "the service did not answer"
            time.sleep(_POLL_S)
        steps["service: first correct answer"] = time.perf_counter() - began
        off = max(abs(a - b) for a, b in zip(answer, golden.probabilities, strict=True))
        assert off <= tolerance, f"the first answer is off by {off:.2g}"
        return steps
    finally:
        process.terminate()
        process.communicate(timeout=_WAIT_S)


def _ask(host: str, port: int, picture: bytes) -> list[float] | None:
    connection = http.client.HTTPConnection(host, port, timeout=_WAIT_S)
    try:
        headers = {"Content-Type": "application/octet-stream"}
        connection.request("POST", "/predict", picture, headers)
        response = connection.getresponse()
        document = json.loads(response.read())
    except OSError:  # it has the port, and does not accept yet
        return None
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        return None
    (entry,) = document["predictions"]
    return list(entry["scores"].values())


if __name__ == "__main__":
    sys.exit(main())
