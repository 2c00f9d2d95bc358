"""The table of jobs: states, the queue, and the events of each job."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from sqlalchemy import Connection, Row, func, insert, select, update

from studio.database import Database
from studio.database.database import now
from studio.database.tables import job_events, jobs
from studio.jobs.options import JobOptions, Kind
from studio.jobs.process import ProcessMark
from studio.jobs.progress import Event
from studio.problems import JobEnded, NotFound
from studio.projects.projects import MAX_ID, is_id

State = Literal["queued", "running", "cancelling", "cancelled", "failed", "done"]

ACTIVE: Final = ("queued", "running", "cancelling")
ENDED: Final = ("cancelled", "failed", "done")
STATE_EVENT: Final = "state"
"""Event that the studio adds whenever a job's state changes."""


@dataclass(frozen=True)
class Job:
    """One row of the table.

    Attributes:
        version: Version of the data that a training reads; an audit may read the present data.
        mark: The process that runs it, while it runs.
        attempts: Number of starts.
        progress_bytes: Bytes of its progress file whose events are stored.
        result: Its result, once it is done.
    """

    id: int
    project: int
    kind: Kind
    state: State
    version: int | None
    options: JobOptions
    by: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    mark: ProcessMark | None
    attempts: int
    progress_bytes: int
    exit_status: int | None
    error: dict[str, str] | None
    result: dict[str, Any] | None


def add_job(
    database: Database,
    project: int,
    kind: Kind,
    *,
    version: int | None,
    options: JobOptions,
    by: str,
) -> Job:
    """Append a job to the queue."""
    row = {
        "project": project,
        "kind": kind,
        "state": "queued",
        "version": version,
        "options": options.model_dump(),
        "by": by,
        "created_at": now(),
    }
    with database.write() as connection:
        number = connection.execute(insert(jobs).values(row).returning(jobs.c.id)).scalar_one()
        _append(connection, number, [_state_event("queued")])
        return get_job(connection, number)


def get_job(connection: Connection, number: int) -> Job:
    """Return a job.

    Raises:
        NotFound: There is none of that number.
    """
    query = select(jobs).where(jobs.c.id == number)
    row = connection.execute(query).first() if is_id(number) else None
    if row is None:
        raise NotFound(f"There is no job {number}.")
    return _job_of(row)


def list_jobs(
    connection: Connection,
    *,
    project: int | None = None,
    states: Sequence[str] | None = None,
    limit: int = 200,
) -> list[Job]:
    """Return jobs, the newest first."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if project is not None:
        query = query.where(jobs.c.project == project)
    if states is not None:
        query = query.where(jobs.c.state.in_(states))
    return [_job_of(row) for row in connection.execute(query)]


def next_queued(connection: Connection) -> Job | None:
    """Return the job to run next: trainings before audits, then the oldest."""
    query = (
        select(jobs)
        .where(jobs.c.state == "queued")
        .order_by((jobs.c.kind == "audit"), jobs.c.id)
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else _job_of(row)


def position_of(connection: Connection, job: Job) -> int:
    """Return how many jobs run or wait before a queued one."""
    if job.state != "queued":
        return 0
    earlier = (jobs.c.state == "queued") & (jobs.c.id < job.id)
    if job.kind == "audit":
        earlier |= (jobs.c.state == "queued") & (jobs.c.kind == "fit")
    else:
        earlier &= jobs.c.kind == "fit"
    before = earlier | jobs.c.state.in_(("running", "cancelling"))
    return connection.execute(select(func.count()).where(before)).scalar_one()


def request_cancel(database: Database, number: int) -> Job:
    """Cancel a queued job at once, or have the supervisor end a running one.

    Raises:
        NotFound: There is no such job.
        JobEnded: It has ended.
    """
    with database.write() as connection:
        job = get_job(connection, number)
        if job.state in ENDED:
            raise JobEnded(f"Job {number} is {job.state}: there is nothing to cancel.")
        _cancel(connection, job)
        return get_job(connection, number)


def cancel_jobs(connection: Connection, project: int) -> None:
    """Cancel all jobs of a project, in the caller's transaction."""
    active = list_jobs(connection, project=project, states=ACTIVE, limit=MAX_ID)
    for job in active:
        _cancel(connection, job)


def change_state(database: Database, job: Job, state: State, **columns: object) -> bool:
    """Change the state of a job unless it has changed meanwhile; return True if done."""
    with database.write() as connection:
        return _change(connection, job, state, **columns)


def set_process(database: Database, job: Job, mark: ProcessMark) -> None:
    """Note the process that runs a job."""
    with database.write() as connection:
        columns = {"pid": mark.pid, "pid_started": mark.started}
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(columns))


def store_events(
    database: Database, job: Job, events: Sequence[Event], progress_bytes: int
) -> None:
    """Append events, and note how much of the progress file they are, in one transaction."""
    with database.write() as connection:
        _append(connection, job.id, events)
        values = {"progress_bytes": progress_bytes}
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))


def events_after(
    connection: Connection, number: int, after: int, *, limit: int = 1000
) -> list[dict[str, Any]]:
    """Return the events of a job after the one numbered `after`, as documents with their id."""
    query = (
        select(job_events)
        .where(job_events.c.job == number, job_events.c.id > after)
        .order_by(job_events.c.id)
        .limit(limit)
    )
    return [_document(row) for row in connection.execute(query)]


def last_event(connection: Connection, number: int, *names: str) -> dict[str, Any] | None:
    """Return the last event of some names, if there is one."""
    query = (
        select(job_events)
        .where(job_events.c.job == number, job_events.c.event.in_(names))
        .order_by(job_events.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else _document(row)


def _document(row: Row[Any]) -> dict[str, Any]:
    return {"id": row.id, "event": row.event, "time": row.time, **row.body}


def _cancel(connection: Connection, job: Job) -> None:
    if job.state == "queued":
        _change(connection, job, "cancelled", ended_at=now())
    elif job.state == "running":
        _change(connection, job, "cancelling")


def _change(connection: Connection, job: Job, state: State, **columns: object) -> bool:
    changed = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id, jobs.c.state == job.state)
        .values(state=state, **columns)
    ).rowcount
    if changed:
        _append(connection, job.id, [_state_event(state)])
    return bool(changed)


def _append(connection: Connection, number: int, events: Sequence[Event]) -> None:
    if not events:
        return
    # Two processes may write: the studio, and a command that cancels.
    connection.execute(select(jobs.c.id).where(jobs.c.id == number).with_for_update())
    last = connection.execute(
        select(func.coalesce(func.max(job_events.c.id), 0)).where(job_events.c.job == number)
    ).scalar_one()
    rows = [
        {
            "job": number,
            "id": last + index,
            "time": event.time[:24],
            "event": event.name,
            "body": event.body,
        }
        for index, event in enumerate(events, start=1)
    ]
    connection.execute(insert(job_events), rows)


def _state_event(state: State) -> Event:
    return Event(STATE_EVENT, now(), {"state": state})


def _job_of(row: Row[Any]) -> Job:
    mark = None
    if row.pid is not None:
        mark = ProcessMark(row.pid, row.pid_started or "")
    return Job(
        id=row.id,
        project=row.project,
        kind=cast(Kind, row.kind),
        state=cast(State, row.state),
        version=row.version,
        # Checked when the job was added; an option of a later release must not end the queue.
        options=JobOptions.model_validate(row.options),
        by=row.by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        mark=mark,
        attempts=row.attempts,
        progress_bytes=row.progress_bytes,
        exit_status=row.exit_status,
        error=row.error,
        result=row.result,
    )
