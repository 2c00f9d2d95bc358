"""The end of a job: its last events, its result or its reason, and its final state."""

import logging
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from models.errors import FacemaskError, reason_of
from models.text import clean
from studio.database import Database
from studio.database.database import now
from studio.jobs.files import progress_file, read_log_tail
from studio.jobs.progress import read_events
from studio.jobs.queue import Job, State, change_state, get_job, last_event, store_events

log = logging.getLogger("facemask.studio")

_DATA_FOLDERS: Final = ("work", "pictures")
_MAX_MESSAGE_CHARS: Final = 4000


class Work(Protocol):
    """Work of a job before and after its process; `studio.runs.work` implements it."""

    def prepare(self, job: Job, folder: Path) -> Sequence[str]:
        """Write the data that a job reads into its folder, and return the command to run.

        Raises:
            FacemaskError: The job cannot run.
        """

    def finish(self, job: Job, folder: Path, finished: Mapping[str, Any]) -> dict[str, Any]:
        """Store the result of a job that has succeeded, and return it.

        Raises:
            FacemaskError: Its output is not usable.
        """


def end_job(
    database: Database, work: Work, job: Job, folder: Path, exit_status: int | None
) -> None:
    """Set the state of a job whose process has ended, by its last event and its exit status.

    Args:
        database: The studio's database.
        work: Stores the job's result.
        job: The job as it stands now; its last events are stored.
        folder: Its folder; its copy of the data is removed, its log and its progress stay.
        exit_status: The process's exit status; None if another process was its parent.
    """
    with database.read() as connection:
        last = last_event(connection, job.id, "finished", "failed")
    if last is not None and last["event"] == "finished" and exit_status in (0, None):
        try:
            result = work.finish(job, folder, last)
        except Exception as error:  # any fault ends the job, not the queue
            if getattr(error, "retry_after_s", None):  # such as a database that is busy
                raise
            fail_job(database, job, *explain(error), exit_status)
        else:
            columns = {"ended_at": now(), "exit_status": 0, "result": result}
            _conclude(database, job, "done", columns)
    elif job.state == "cancelling":
        _conclude(database, job, "cancelled", {"ended_at": now(), "exit_status": exit_status})
    elif last is not None and last["event"] == "failed":
        code, message = str(last.get("code", "failed")), str(last.get("message", ""))
        fail_job(database, job, code, message, last.get("exit_status", exit_status))
    else:
        fail_job(database, job, "worker_died", _describe_exit(folder, exit_status), exit_status)
    for name in _DATA_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def fail_job(
    database: Database, job: Job, code: str, message: str, exit_status: object | None = None
) -> None:
    """Record that a job has failed, and why."""
    columns: dict[str, object] = {
        "ended_at": now(),
        "error": {
            "code": code[:64],
            "message": clean(message, lines=True)[:_MAX_MESSAGE_CHARS],
        },
        "exit_status": exit_status if isinstance(exit_status, int) else None,
    }
    log.warning("job %s failed (%s): %s", job.id, code, clean(message))
    _conclude(database, job, "failed", columns)


def store_progress(database: Database, job: Job, folder: Path, *, ended: bool) -> None:
    """Store the events that a job has written since the last call."""
    path, offset = progress_file(folder), job.progress_bytes
    while True:
        events, end = read_events(path, offset, ended=ended)
        if end == offset:
            return
        store_events(database, job, events, end)
        offset = end


def explain(error: Exception) -> tuple[str, str]:
    """Return the code and the sentence of a failed job."""
    if isinstance(error, FacemaskError):
        return error.code, str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return "system", f"{where}{reason_of(error)}."
    log.error("unexpected error in a job", exc_info=error)
    return "internal_error", "The studio failed at this job; its log has the reason."


def _conclude(database: Database, job: Job, state: State, columns: dict[str, Any]) -> None:
    # A person may have cancelled between the last poll and the end.
    for _ in range(2):
        if change_state(database, job, state, **columns):
            log.info("job %s: %s", job.id, state)
            return
        with database.read() as connection:
            job = get_job(connection, job.id)


def _describe_exit(folder: Path, exit_status: int | None) -> str:
    if exit_status is not None and exit_status < 0:
        killer = " (out of memory, perhaps)" if -exit_status == signal.SIGKILL else ""
        how = f"was ended by signal {-exit_status}{killer}"
    elif exit_status is not None:
        how = f"ended with status {exit_status}"
    else:
        how = "ended while the studio was not running"
    tail = read_log_tail(folder / "log.txt").strip().splitlines()
    last_line = f" Its last line: {tail[-1]}" if tail else ""
    return f"The job's process {how}, without a result.{last_line}"
