"""Following of a job to its end, for the command line."""

import contextlib
import time
from collections.abc import Iterator

from studio.database.database import Database
from studio.jobs.queue import Job, get_job
from studio.jobs.supervisor import POLL_S, Supervisor


def follow(
    database: Database, supervisor: Supervisor, number: int, *, poll_s: float = POLL_S
) -> Iterator[Job]:
    """Yield a job's state at each poll until it has ended; supervise if no other process does.

    Args:
        database: The studio's database.
        supervisor: A supervisor that was not started.
        number: Number of the job.
        poll_s: Seconds between polls.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(supervisor.release)
        while True:
            if supervisor.acquire():
                supervisor.step()
            with database.read() as connection:
                job = get_job(connection, number)
            yield job
            if job.state in ("done", "failed", "cancelled"):
                return
            time.sleep(poll_s)
