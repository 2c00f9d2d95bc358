"""The queue and its supervisor, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.errors import FacemaskError
from studio.database import Database, open_database
from studio.database.tables import projects
from studio.jobs import supervisor as supervising
from studio.jobs.ending import fail_job
from studio.jobs.files import job_folder, progress_file
from studio.jobs.options import JobOptions, Kind
from studio.jobs.process import NICENESS, start_of
from studio.jobs.queue import (
    Job,
    add_job,
    events_after,
    get_job,
    position_of,
    request_cancel,
    set_process,
)
from studio.jobs.supervisor import Supervisor
from studio.problems import BadOptions, DatabaseUnusable, JobEnded, NothingToTrain
from tests import WAIT_S
from tests.studio.jobs import fake_training

MODES = "fit", "audit"


class FakeWork:
    """Runs the stand-in in a mode per job."""

    def __init__(self, *modes: str) -> None:
        self.modes = list(modes)
        self.faults: list[Exception] = []
        self.finished: list[int] = []

    def prepare(self, job: Job, folder: Path) -> Sequence[str]:
        mode = self.modes.pop(0)
        if mode == "unprepared":
            raise NothingToTrain
        return [sys.executable, fake_training.__file__, mode, str(progress_file(folder))]

    def finish(self, job: Job, folder: Path, finished: Mapping[str, Any]) -> dict[str, Any]:
        self.finished.append(job.id)
        if self.faults:
            raise self.faults.pop(0)
        return {"bundle": finished["version"]}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'studio.db'}")
    with database.write() as connection:
        row = {"id": 1, "name": "masks", "key": "masks", "created_at": "2026-11-22T00:00:00.000Z"}
        connection.execute(projects.insert().values(row))
    yield database
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def add(database: Database, kind: Kind = "fit") -> int:
    return add_job(database, 1, kind, version=None, options=JobOptions(), by="ann").id


def job_of(database: Database, number: int) -> Job:
    with database.read() as connection:
        return get_job(connection, number)


def events_of(database: Database, number: int) -> list[dict[str, Any]]:
    with database.read() as connection:
        return events_after(connection, number, 0)


def step_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        assert supervisor.acquire()
        supervisor.step()
        time.sleep(0.01)


def run_to_end(database: Database, supervisor: Supervisor, number: int) -> Job:
    step_until(
        supervisor, lambda: job_of(database, number).state in ("done", "failed", "cancelled")
    )
    return job_of(database, number)


def abandon(supervisor: Supervisor) -> None:
    """Leave a job's process to itself, as a killed supervisor does."""
    current = supervisor._current
    if current is not None and current.process is not None:
        current.process.returncode = 0  # or Python warns of a child that nobody waits for
    supervisor.release()


def kill(database: Database, number: int) -> None:
    """Kill the processes of a job, and wait for the end of the first one."""
    mark = job_of(database, number).mark
    assert mark is not None
    mark.signal_group(signal.SIGKILL)
    os.waitpid(mark.pid, 0)


def test_job_runs_to_its_end_and_its_events_are_stored_once(
    database: Database, folder: Path
) -> None:
    work = FakeWork("quick")
    number = add(database)
    job = run_to_end(database, Supervisor(database, folder, work), number)
    assert (job.state, job.exit_status) == ("done", 0)
    assert job.result == {"bundle": "20261122T204207Z-1f0c9a77"}
    assert work.finished == [number]
    events = events_of(database, number)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [event["done"] for event in events if event["event"] == "progress"] == list(range(20))
    states = [event["state"] for event in events if event["event"] == "state"]
    assert states == ["queued", "running", "done"]
    assert "log line" in (job_folder(folder, number) / "log.txt").read_text()


def test_job_is_nice_and_in_a_session_of_its_own(database: Database, folder: Path) -> None:
    supervisor = Supervisor(database, folder, FakeWork("wait"))
    number = add(database)
    step_until(supervisor, lambda: job_of(database, number).mark is not None)
    mark = job_of(database, number).mark
    assert mark is not None
    assert os.getsid(mark.pid) == mark.pid
    assert os.getpriority(os.PRIO_PROCESS, mark.pid) >= NICENESS
    (job_folder(folder, number) / "go").touch()
    assert run_to_end(database, supervisor, number).state == "done"


def test_queue_runs_one_job_at_a_time_and_trainings_before_audits(
    database: Database, folder: Path
) -> None:
    work = FakeWork("quick", "quick", "quick")
    audit, first, second = add(database, "audit"), add(database), add(database)
    with database.read() as connection:
        positions = [
            position_of(connection, get_job(connection, n)) for n in (audit, first, second)
        ]
    assert positions == [2, 0, 1]
    supervisor = Supervisor(database, folder, work)
    run_to_end(database, supervisor, audit)
    assert work.finished == [first, second, audit]


def test_training_takes_the_place_of_a_running_audit(database: Database, folder: Path) -> None:
    supervisor = Supervisor(database, folder, FakeWork("stubborn", "quick"))
    audit = add(database, "audit")
    step_until(supervisor, lambda: job_of(database, audit).state == "running")
    training = add(database)
    assert run_to_end(database, supervisor, training).state == "done"
    assert job_of(database, audit).state == "cancelled"


def test_queued_job_is_cancelled_at_once_and_an_ended_one_is_not(
    database: Database, folder: Path
) -> None:
    number = add(database)
    assert request_cancel(database, number).state == "cancelled"
    with pytest.raises(JobEnded, match="is cancelled"):
        request_cancel(database, number)


class Clock:
    """A clock that moves only when something sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_cancel_frees_the_processor_within_two_seconds(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(database, folder, FakeWork("stubborn", "quick"))
    number, following = add(database), add(database)
    child = job_folder(folder, number) / "child.pid"
    step_until(supervisor, lambda: child.exists() and child.read_text() != "")
    pid, clock = int(child.read_text()), Clock()
    monkeypatch.setattr("studio.jobs.process.time", clock)
    assert request_cancel(database, number).state == "cancelling"
    assert run_to_end(database, supervisor, number).state == "cancelled"
    assert 0 < clock.now < 2
    until = time.monotonic() + WAIT_S
    while start_of(pid):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert run_to_end(database, supervisor, following).state == "done"


def test_dead_worker_frees_its_place_and_says_what_happened(
    database: Database, folder: Path
) -> None:
    supervisor = Supervisor(database, folder, FakeWork("die", "quick"))
    number, following = add(database), add(database)
    job = run_to_end(database, supervisor, number)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "worker_died"
    assert "signal 9" in job.error["message"]
    assert "log line" in job.error["message"]
    assert run_to_end(database, supervisor, following).state == "done"


@pytest.mark.parametrize(
    ("mode", "code", "status"),
    [("fail", "no_pictures", 3), ("unprepared", "nothing_to_train", None)],
)
def test_failed_job_keeps_its_reason(
    mode: str, code: str, status: int | None, database: Database, folder: Path
) -> None:
    number = add(database)
    job = run_to_end(database, Supervisor(database, folder, FakeWork(mode)), number)
    assert (job.state, job.exit_status) == ("failed", status)
    assert job.error is not None
    assert job.error["code"] == code


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (FacemaskError("The bundle cannot be read."), "error", "The bundle cannot be read."),
        (OSError(28, "No space left on device", "/x"), "system", "/x: No space left on device."),
        (KeyError("a bug"), "internal_error", "its log has the reason"),
    ],
)
def test_result_that_cannot_be_stored_fails_the_job_and_not_the_queue(
    fault: Exception, code: str, message: str, database: Database, folder: Path
) -> None:
    work = FakeWork("quick", "quick")
    work.faults = [fault]
    supervisor = Supervisor(database, folder, work)
    number, following = add(database), add(database)
    job = run_to_end(database, supervisor, number)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == code
    assert message in job.error["message"]
    assert run_to_end(database, supervisor, following).state == "done"


def test_result_is_stored_again_if_the_database_was_busy(database: Database, folder: Path) -> None:
    work = FakeWork("quick")
    work.faults = [DatabaseUnusable("The database is locked.")]
    number = add(database)
    supervisor = Supervisor(database, folder, work)
    with pytest.raises(DatabaseUnusable):
        run_to_end(database, supervisor, number)
    assert run_to_end(database, supervisor, number).state == "done"
    assert work.finished == [number, number]


def test_only_one_process_supervises(database: Database, folder: Path) -> None:
    first, second = (Supervisor(database, folder, FakeWork()) for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()


def test_job_goes_on_when_its_supervisor_is_gone_and_is_followed_again(
    database: Database, folder: Path
) -> None:
    first = Supervisor(database, folder, FakeWork("wait"))
    number = add(database)
    step_until(first, lambda: len(events_of(database, number)) > 5)
    running = job_of(database, number)
    abandon(first)
    second = Supervisor(database, folder, work := FakeWork())
    assert second.acquire()
    (job_folder(folder, number) / "go").touch()
    assert running.mark is not None
    os.waitpid(running.mark.pid, 0)  # not its parent any more, in the real case
    job = run_to_end(database, second, number)
    assert (job.state, job.attempts) == ("done", 1)
    assert work.finished == [number]
    done = [event["done"] for event in events_of(database, number) if event["event"] == "progress"]
    assert done[-20:] == list(range(20))
    assert done[:-20] == list(range(len(done) - 20))


def test_process_whose_number_was_not_noted_is_found_by_its_folder(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Supervisor(database, folder, FakeWork("wait"))
    number = add(database)
    with monkeypatch.context() as patch:
        patch.setattr("studio.jobs.supervisor.set_process", lambda *_: None)  # killed before it
        step_until(first, lambda: len(events_of(database, number)) > 5)
    assert job_of(database, number).mark is None
    abandon(first)
    second = Supervisor(database, folder, FakeWork())
    assert second.acquire()
    mark = job_of(database, number).mark
    assert mark is not None
    (job_folder(folder, number) / "go").touch()
    os.waitpid(mark.pid, 0)
    assert run_to_end(database, second, number).attempts == 1


def test_job_whose_process_is_gone_after_a_restart_starts_again(
    database: Database, folder: Path
) -> None:
    first = Supervisor(database, folder, FakeWork("wait"))
    number = add(database)
    step_until(first, lambda: len(events_of(database, number)) > 5)
    kill(database, number)
    abandon(first)
    job = run_to_end(database, Supervisor(database, folder, FakeWork("quick")), number)
    assert (job.state, job.attempts) == ("done", 2)
    messages = [event.get("message", "") for event in events_of(database, number)]
    assert any("starts again" in message for message in messages)


def test_job_that_kills_its_machine_again_and_again_is_given_up(
    database: Database, folder: Path
) -> None:
    number = add(database)
    for attempt in range(1, 4):
        supervisor = Supervisor(database, folder, FakeWork("wait"))
        step_until(
            supervisor,
            lambda attempt=attempt: (
                job_of(database, number).attempts == attempt  # type: ignore[misc]
                and job_of(database, number).mark is not None
            ),
        )
        kill(database, number)
        abandon(supervisor)
    job = run_to_end(database, Supervisor(database, folder, FakeWork()), number)
    assert job.state == "failed"
    assert job.error is not None
    assert "while the studio was not running" in job.error["message"]


def test_number_of_a_process_that_is_used_again_is_no_job(database: Database, folder: Path) -> None:
    supervisor = Supervisor(database, folder, FakeWork("wait"))
    number = add(database)
    step_until(supervisor, lambda: job_of(database, number).mark is not None)
    mark = job_of(database, number).mark
    assert mark is not None
    assert mark.is_alive()
    assert not type(mark)(mark.pid, "another start").is_alive()
    kill(database, number)
    abandon(supervisor)


def test_supervisor_thread_runs_jobs_and_leaves_them_running(
    database: Database, folder: Path
) -> None:
    supervisor = Supervisor(database, folder, FakeWork("wait"))
    supervisor.start()
    number = add(database)
    until = time.monotonic() + WAIT_S
    while job_of(database, number).mark is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    left = supervisor.stop()
    assert left is not None
    assert left.id == number
    mark = job_of(database, number).mark
    assert mark is not None
    assert mark.is_alive()
    kill(database, number)
    abandon(supervisor)


def test_options_are_those_of_the_training_job() -> None:
    from studio.jobs.options import arguments_of, describe_options, parse_options
    from training.__main__ import build_parser
    from training.config import PRESETS, FitConfig

    described = {option["name"]: option for option in describe_options()}
    assert [choice["value"] for choice in described["preset"]["choices"]] == list(PRESETS)
    defaults = FitConfig()
    for name in ("crop", "precision", "target_error", "views", "seed"):
        assert described[name]["default"] == getattr(defaults, name)
    options = parse_options({"finetune": True, "preset": "fast", "seed": 3})
    parsed = build_parser().parse_args(["fit", "data", *arguments_of(options)])
    assert (parsed.finetune, parsed.preset, parsed.seed) == ("last", "fast", 3)
    for wrong in ({"views": -1}, {"nonsense": 1}, {"preset": "best"}):
        with pytest.raises(BadOptions, match=next(iter(wrong))):
            parse_options(wrong)


def test_start_of_a_process_that_has_ended_is_empty() -> None:
    done = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert start_of(done.pid) != ""
    done.communicate()
    assert start_of(done.pid) == ""


@pytest.mark.parametrize(("fault", "attempts"), [("prepare", 2), ("set_process", 1), ("fail", 2)])
def test_a_database_that_does_not_answer_for_a_moment_loses_no_job(
    database: Database,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    attempts: int,
) -> None:
    work = FakeWork("fast")
    times: list[str] = []

    def failing(function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not times.count(function.__name__):
                times.append(function.__name__)
                raise error
            return function(*arguments, **options)

        return call

    busy = DatabaseUnusable("locked")
    if fault == "set_process":
        monkeypatch.setattr(supervising, fault, failing(set_process, busy))
    else:
        error = busy if fault == "prepare" else OSError(28, "No space left on device")
        monkeypatch.setattr(work, "prepare", failing(work.prepare, error))
    supervisor = Supervisor(database, folder, work, poll_s=0.02)
    if fault == "fail":  # the reason cannot be written either
        monkeypatch.setattr(supervising, "fail_job", failing(fail_job, busy))
    number, until = add(database), time.monotonic() + WAIT_S
    supervisor.start()
    while (job := job_of(database, number)).state != "done":
        assert time.monotonic() < until
        time.sleep(0.02)
    supervisor.stop()
    assert job.attempts == attempts
    assert times
