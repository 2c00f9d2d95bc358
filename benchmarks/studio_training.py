"""A training of the studio from outside: first event, gaps, cancelling, a killed studio.

    python -m benchmarks.studio_training DATA [--preset balanced]

Takes about four trainings' time. DATA is a folder of pictures (`python -m training sample DATA`
draws one). A studio is started as a process, the pictures are uploaded, and the same version is
trained on three times:

- whole: seconds from the request to the training's first event, and the longest gap between two
  events, as a page receives them;
- cancelled in its middle: seconds from the request until no process of the job is left;
- with the studio killed in its middle and started again: the bundle must have the same bytes.

Exits with 1 if a target is missed.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import httpx

from benchmarks.serving.processes import free_port
from benchmarks.studio_data import upload
from checks.studio_process import Studio
from models.layout.files import is_picture
from studio.jobs.files import job_folder

_TARGETS: Final = {
    "first_event_s": 1.0,
    "longest_gap_s": 2.0,
    "cancel_s": 2.0,
    "changed_files": 0.0,
}
_POLL_S: Final = 0.01
_MIDDLE: Final = 0.4  # of the whole
# Name the version and its time, or hold the checksums of files that do.
_FILES: Final = ("model.pt", "out_of_fold.csv", "summary.json", "report.html")


def events_of(client: httpx.Client, job: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield each event of a job with the time at which it arrives."""
    with client.stream("GET", f"/api/jobs/{job}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield time.monotonic(), json.loads(line.removeprefix("data: "))


def start(client: httpx.Client, project: str, version: int | None, preset: str) -> dict[str, Any]:
    """Start a training, and return its job."""
    body: dict[str, Any] = {"kind": "fit", "options": {"preset": preset}}
    if version is not None:
        body["version"] = version
    response = client.post(f"{project}/jobs", json=body)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def watch(client: httpx.Client, job: int, began: float) -> dict[str, float]:
    """Follow a training to its end; return the first event's time and the longest gap."""
    arrivals = [moment for moment, event in events_of(client, job) if event["event"] != "state"]
    gaps = [after - before for before, after in zip(arrivals, arrivals[1:], strict=False)]
    return {
        "first_event_s": arrivals[0] - began,
        "longest_gap_s": max(gaps),
        "whole_s": arrivals[-1] - began,
        "events": len(arrivals),
    }


def wait_until(client: httpx.Client, job: int, share: float) -> None:
    """Wait until a share of a training is done."""
    for _, event in events_of(client, job):
        if event.get("overall", 0.0) >= share:
            return
    raise RuntimeError(f"job {job} has ended before {share:.0%} of it")


def processes_of(folder: Path) -> list[int]:
    """Return the processes whose working folder is a job's."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").readlink() == folder:
                found.append(int(path.name))
        except OSError:
            continue
    return found


def digests(store: Path, bundle: str) -> dict[str, str]:
    """Return the digest of each file of a bundle that its version does not name."""
    return {
        name: hashlib.sha256((store / bundle / name).read_bytes()).hexdigest() for name in _FILES
    }


def job_of(client: httpx.Client, job: int) -> dict[str, Any]:
    """Return a job as it stands."""
    found: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
    return found


def measure(studio: Studio, client: httpx.Client, data: Path, preset: str) -> dict[str, float]:
    """Train three times, and return the figures."""
    project = f"/api/projects/{client.post('/api/projects', json={'name': 'large'}).json()['id']}"
    paths = [path for path in sorted(data.glob("*/*")) if is_picture(PurePosixPath(path))]
    files = [(path.relative_to(data).as_posix(), path.read_bytes()) for path in paths]
    upload(client, project, files)
    store, jobs = studio.folder / "store", studio.folder / "jobs"

    began = time.monotonic()
    first = start(client, project, None, preset)
    figures = watch(client, first["id"], began)
    whole = job_of(client, first["id"])

    second = start(client, project, whole["version"], preset)
    wait_until(client, second["id"], _MIDDLE)
    folder = job_folder(jobs, second["id"]).resolve()
    began = time.monotonic()
    client.post(f"/api/jobs/{second['id']}/cancel").raise_for_status()
    while processes_of(folder):
        time.sleep(_POLL_S)
    figures["cancel_s"] = time.monotonic() - began

    third = start(client, project, whole["version"], preset)
    wait_until(client, third["id"], _MIDDLE)
    studio.kill()
    studio.start()
    for _, event in events_of(client, third["id"]):
        if event["event"] == "state" and event["state"] == "failed":
            raise RuntimeError(f"the training has failed: {job_of(client, third['id'])['error']}")
    resumed = job_of(client, third["id"])
    figures["starts_after_kill"] = resumed["attempts"]
    old, new = (digests(store, job["result"]["bundle"]) for job in (whole, resumed))
    figures["changed_files"] = sum(old[name] != new[name] for name in _FILES)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studio_training")
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="balanced")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what it has started
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FACEMASK_CACHE"] = str(folder / "cache")  # the first training begins without
        studio = Studio(folder, f"sqlite:///{folder}/studio.db", free_port())
        studio.start()
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{studio.port}",
                headers={"X-Requested-With": "studio"},
                timeout=600,
            ) as client:
                figures = measure(studio, client, arguments.data, arguments.preset)
        finally:
            studio.kill()
    for figure, value in figures.items():
        target = f"<= {_TARGETS[figure]:g}" if figure in _TARGETS else ""
        print(f"{figure:20} {value:10.2f}  {target}")
    return int(any(figures[figure] > target for figure, target in _TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
