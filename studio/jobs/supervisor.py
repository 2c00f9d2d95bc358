"""The supervisor: takes jobs from the queue, one at a time, and follows their processes.

The process that holds the lock of the data folder supervises: the studio, or a command that trains
while the studio is not running. A job's process is independent: if its supervisor is killed, the
job goes on, and the next supervisor follows it by its pid, its start time and its progress file.
"""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from studio.database import Database
from studio.database.database import now
from studio.jobs.ending import Work, end_job, explain, fail_job, store_progress
from studio.jobs.files import job_folder
from studio.jobs.process import ProcessMark, find_in, start
from studio.jobs.progress import Event
from studio.jobs.queue import (
    Job,
    change_state,
    get_job,
    last_event,
    list_jobs,
    next_queued,
    set_process,
    store_events,
)

log = logging.getLogger("facemask.studio")

MAX_ATTEMPTS: Final = 3
"""Starts of one job: a machine that stops in its middle may do so again."""

_ROOT: Final = Path(__file__).parent.parent.parent
POLL_S: Final = 0.1
_CANCEL_GRACE_S: Final = 1.0
_LOCK: Final = ".supervisor.lock"


@dataclass
class _Current:
    """The running job; `process` is None if another supervisor started it."""

    job: Job
    mark: ProcessMark
    process: "subprocess.Popen[bytes] | None"

    def exit_status(self) -> int | None:
        """Return the exit status, if the process has ended and is a child."""
        return None if self.process is None else self.process.poll()

    def is_alive(self) -> bool:
        """Return True if the process runs."""
        if self.process is not None:
            return self.process.poll() is None
        return self.mark.is_alive()


class Supervisor:
    """Runs the jobs of a data folder."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        work: Work,
        *,
        environment: Mapping[str, str] = os.environ,
        poll_s: float = POLL_S,
    ) -> None:
        """Create a supervisor that does nothing yet.

        Args:
            database: The studio's database.
            folder: Folder of the jobs' data, progress files and logs.
            work: Prepares the jobs' data and stores their results.
            environment: Environment variables of the jobs.
            poll_s: Seconds between polls of the queue and the progress file.
        """
        self._database, self._folder, self._work = database, folder, work
        # A job runs in its own folder, and must still find the product's modules.
        paths = [str(_ROOT), environment.get("PYTHONPATH", "")]
        self._environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._poll_s = poll_s
        self._current: _Current | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock: int | None = None

    # -- the life of the supervisor

    def start(self) -> None:
        """Supervise in a thread, as soon as no other process does."""
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> Job | None:
        """Stop supervising, and return the job that goes on without a supervisor, if any."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.release()
        return None if self._current is None else self._current.job

    def wake(self) -> None:
        """Poll the queue at once."""
        self._wake.set()

    def acquire(self) -> bool:
        """Take the lock of the data folder; return False if another process supervises."""
        if self._lock is not None:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        self._lock = handle
        self._take_over()
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except Exception:
                # A full disk or a database that does not answer: the queue goes on afterwards.
                log.exception("the supervisor of the jobs failed; it goes on in a second")
                self._stop.wait(1.0)
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def _look(self) -> None:
        """Take the lock if it is free, and poll the queue and the running job once."""
        try:
            if self.acquire():
                self.step()
        except Exception:
            if self._current is None:  # started work is found again, as after a restart
                self.release()
            raise

    # -- one look at the queue and at the running job

    def step(self) -> None:
        """Follow the running job, or start the next one; the caller holds the lock."""
        if self._current is None:
            self._start_next()
        else:
            self._follow(self._current)

    def _start_next(self) -> None:
        with self._database.read() as connection:
            job = next_queued(connection)
        if job is None:
            return
        moment, attempts = now(), job.attempts + 1
        columns = {"started_at": job.started_at or moment, "attempts": attempts, "pid": None}
        if not change_state(self._database, job, "running", **columns):
            return  # cancelled meanwhile
        job = self._fresh(job)
        folder = self._folder_of(job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            command = self._work.prepare(job, folder)
            process, mark = start(
                command, log=folder / "log.txt", environment=self._environment, cwd=folder
            )
        except Exception as error:  # any fault ends the job, not the queue
            if getattr(error, "retry_after_s", None):  # such as a database that is busy
                raise
            fail_job(self._database, job, *explain(error))
            return
        self._current = _Current(job, mark, process)
        set_process(self._database, job, mark)
        log.info("job %s: started (%s, process %s)", job.id, job.kind, mark.pid)

    def _follow(self, current: _Current) -> None:
        has_ended = not current.is_alive()  # before the last lines are read
        job = current.job = self._fresh(current.job)
        if job.state == "cancelling" and not has_ended:
            current.mark.end(grace_s=_CANCEL_GRACE_S)
            has_ended = True
        elif job.kind == "audit" and not has_ended and self._has_waiting_training():
            # A training audits its data, too, and a person waits for it.
            change_state(self._database, job, "cancelling")
            current.mark.end(grace_s=_CANCEL_GRACE_S)
            job, has_ended = self._fresh(job), True
        store_progress(self._database, job, self._folder_of(job), ended=has_ended)
        if has_ended:
            if current.process is not None:
                current.process.wait()
            self._end(job, current.exit_status())
            # Worker processes that have outlived their parent would use the processor.
            current.mark.signal_group(signal.SIGKILL)
            self._current = None
            self._wake.set()

    def _end(self, job: Job, exit_status: int | None) -> None:
        end_job(self._database, self._work, self._fresh(job), self._folder_of(job), exit_status)

    # -- jobs of an earlier supervisor

    def _take_over(self) -> None:
        """Follow the job that an earlier supervisor has left, or put it back into the queue."""
        with self._database.read() as connection:
            left = list_jobs(connection, states=("running", "cancelling"))
        for job in left:
            mark = job.mark or find_in(self._folder_of(job))
            if mark is not None and mark.is_alive() and self._current is None:
                log.info("job %s: followed again (process %s)", job.id, mark.pid)
                set_process(self._database, job, mark)
                self._current = _Current(job, mark, None)
            else:
                self._recover(job)

    def _recover(self, job: Job) -> None:
        """End a job whose process has ended unobserved, or put it back into the queue."""
        store_progress(self._database, job, self._folder_of(job), ended=True)
        job = self._fresh(job)
        with self._database.read() as connection:
            last = last_event(connection, job.id, "finished", "failed")
        was_cut = last is None or last.get("code") == "interrupted"
        if job.state == "running" and was_cut and job.attempts < MAX_ATTEMPTS:
            self._resume(job)
        else:
            self._end(job, None)

    def _resume(self, job: Job) -> None:
        message = "The job's process is gone, as after a restart: the job starts again."
        event = Event("log", now(), {"level": "warning", "message": message})
        store_events(self._database, job, [event], job.progress_bytes)
        change_state(self._database, job, "queued", pid=None, pid_started=None)
        log.info("job %s: back in the queue after a restart", job.id)

    # -- small things

    def _has_waiting_training(self) -> bool:
        with self._database.read() as connection:
            waiting = next_queued(connection)
        return waiting is not None and waiting.kind == "fit"

    def _fresh(self, job: Job) -> Job:
        with self._database.read() as connection:
            return get_job(connection, job.id)

    def _folder_of(self, job: Job) -> Path:
        return job_folder(self._folder, job.id)
