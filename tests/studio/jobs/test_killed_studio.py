"""A studio that is killed while a job runs: the job goes on, and no event is lost or doubled."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from studio.database import open_database
from studio.database.tables import projects
from studio.jobs.files import job_folder
from studio.jobs.options import JobOptions
from studio.jobs.process import ProcessMark
from studio.jobs.queue import add_job, get_job
from tests import ROOT, WAIT_S


@contextlib.contextmanager
def serving(folder: Path, mode: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a studio, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.studio.jobs.server", str(folder), mode],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    until = time.monotonic() + WAIT_S
    try:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{url}/livez").raise_for_status()
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        yield url, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def read(url: str, job: int, last: int, limit: int | None = None) -> list[dict[str, Any]]:
    """Read the stream of a job's events behind one, to its end or to a number of them."""
    found: list[dict[str, Any]] = []
    headers = {"Last-Event-ID": str(last)} if last else {}
    with httpx.stream(
        "GET", f"{url}/api/jobs/{job}/events", headers=headers, timeout=WAIT_S
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if len(found) == limit:
                    break
    return found


def make_job(folder: Path) -> int:
    database = open_database(f"sqlite:///{folder / 'studio.db'}")
    with database.write() as connection:
        row = {"id": 1, "name": "m", "key": "m", "created_at": "2026-11-22T00:00:00.000Z"}
        connection.execute(projects.insert().values(row))
    job = add_job(database, 1, "fit", version=None, options=JobOptions(), by="ann")
    database.close()
    return job.id


def mark_of(folder: Path, job: int) -> ProcessMark:
    database = open_database(f"sqlite:///{folder / 'studio.db'}")
    with database.read() as connection:
        mark = get_job(connection, job).mark
    database.close()
    assert mark is not None
    return mark


def test_no_event_is_lost_or_doubled_by_three_kills(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    events: list[dict[str, Any]] = []
    marks = set()
    for number in range(3):
        with serving(tmp_path, "wait") as (url, process):
            events += read(url, job, len(events), limit=20 + number)
            marks.add(mark_of(tmp_path, job))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert mark_of(tmp_path, job).is_alive()
    with serving(tmp_path, "wait") as (url, _):
        (job_folder(tmp_path / "jobs", job) / "go").touch()
        events += read(url, job, len(events))
        document = httpx.get(f"{url}/api/jobs/{job}", timeout=WAIT_S).json()
    assert len(marks) == 1  # one process from start to end
    assert (document["state"], document["attempts"]) == ("done", 1)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done[:-20] == list(range(len(done) - 20))
    assert done[-20:] == list(range(20))
    states = [event["state"] for event in events if event["event"] == "state"]
    assert states == ["queued", "running", "done"]


def test_stop_ends_an_open_stream_at_once_and_leaves_the_job_running(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with serving(tmp_path, "wait") as (url, process):
        read(url, job, 0, limit=5)
        mark = mark_of(tmp_path, job)
        assert mark.is_alive()
        process.terminate()
        process.wait(WAIT_S)
    assert mark.is_alive()
    mark.signal_group(signal.SIGKILL)
