"""Jobs: start, list, cancel, follow by server-sent events or by polling, read the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import PlainTextResponse, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from models.text import clean
from studio.database import Database
from studio.http.state import actor_of, state_of
from studio.jobs.files import job_folder, read_log_tail
from studio.jobs.options import Kind, describe_options, parse_options
from studio.jobs.queue import (
    ENDED,
    Job,
    events_after,
    get_job,
    last_event,
    list_jobs,
    position_of,
    request_cancel,
)
from studio.projects.projects import MAX_ID, number_of, project_row
from studio.runs.start import start_job

router = APIRouter(tags=["jobs"])

_MAX_LOG_BYTES: Final = 2**20
# The database is looked at this often for each open stream.
_POLL_S: Final = 0.2
_KEEPALIVE_S: Final = 15.0
_RETRY_MS: Final = 1000


_After = Annotated[int | None, Query(ge=0, le=MAX_ID, description="Answer with a JSON list.")]


class NewJob(BaseModel):
    """A training or an audit to start."""

    kind: Kind = "fit"
    version: int | None = Field(
        default=None, description="Version to train on; by default one is made of the present data."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="See /api/options.")


@router.get("/api/options", summary="Options of a training")
async def options() -> dict[str, Any]:
    """Return each option with its choices, default and help."""
    return {"options": list(describe_options())}


@router.post("/api/projects/{project}/jobs", status_code=201, summary="Start a job")
def create(request: Request, project: int, body: NewJob) -> dict[str, Any]:
    """Put a training or an audit into the queue."""
    state = state_of(request)
    job = start_job(
        state.database,
        request.app.state.versions,
        project,
        body.kind,
        version=body.version,
        options=parse_options(body.options),
        by=actor_of(request).name,
    )
    state.supervisor.wake()
    return _document(state.database, job)


@router.get("/api/projects/{project}/jobs", summary="Jobs of a project")
def jobs_of_project(request: Request, project: int) -> dict[str, Any]:
    """Return the project's jobs, the newest first."""
    database = state_of(request).database
    with database.read() as connection:
        project_row(connection, project)
        found = list_jobs(connection, project=project)
    return {"jobs": [_document(database, job) for job in found]}


@router.get("/api/jobs/{job}", summary="A job")
def one(request: Request, job: int) -> dict[str, Any]:
    """Return a job: state, progress, result."""
    database = state_of(request).database
    with database.read() as connection:
        found = get_job(connection, job)
    return _document(database, found)


@router.post("/api/jobs/{job}/cancel", summary="Cancel a job")
def cancel(request: Request, job: int) -> dict[str, Any]:
    """Take a job out of the queue, or end its processes within two seconds."""
    state = state_of(request)
    found = request_cancel(state.database, job)
    state.supervisor.wake()
    return _document(state.database, found)


@router.get("/api/jobs/{job}/log", summary="The log of a job")
def log(request: Request, job: int) -> PlainTextResponse:
    """Return what the job has written, the last MiB of it."""
    state = state_of(request)
    with state.database.read() as connection:
        get_job(connection, job)
    folder = job_folder(state.settings.data / "jobs", job)
    text = read_log_tail(folder / "log.txt", _MAX_LOG_BYTES)
    return PlainTextResponse(clean(text.replace("\r", "\n"), lines=True))


@router.get(
    "/api/jobs/{job}/events",
    summary="Events of a job",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events; with `after`, a JSON list.",
            "content": {"text/event-stream": {}, "application/json": {}},
        }
    },
)
async def events(
    request: Request,
    job: int,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_ID, description="Answer with a JSON list.")
    ] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Stream the events of a job from the first, or from that after `Last-Event-ID`, to its end."""
    database = state_of(request).database
    start = number_of(last_event_id or "") or 0
    found, state = await run_in_threadpool(_read, database, job, start if after is None else after)
    if after is not None:
        body = json.dumps({"events": found, "state": state})
        return Response(body, media_type="application/json")
    return EventSourceResponse(
        _stream(request, database, job, start, found, state),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    request: Request,
    database: Database,
    job: int,
    last: int,
    found: list[dict[str, Any]],
    state: str,
) -> AsyncIterator[bytes]:
    """Yield the events as they come; end once the job has ended and all were sent."""
    yield format_sse_event(retry=_RETRY_MS)
    quiet_s = 0.0
    while True:
        for event in found:
            last = event["id"]
            yield format_sse_event(data_str=json.dumps(event), id=str(last))
        if state in ENDED and not found:
            return
        if found:
            quiet_s = 0.0
        else:
            quiet_s += _POLL_S
            if quiet_s >= _KEEPALIVE_S:
                yield KEEPALIVE_COMMENT
                quiet_s = 0.0
        if request.app.state.stopping.is_set():
            return  # the browser connects again, to the next process
        if not found:
            await asyncio.sleep(_POLL_S)
        found, state = await run_in_threadpool(_read, database, job, last)


def _read(database: Database, job: int, after: int) -> tuple[list[dict[str, Any]], str]:
    """Return the events after one, and the job's state, which was read before them."""
    with database.read() as connection:
        state = get_job(connection, job).state
        return events_after(connection, job, after), state


def _document(database: Database, job: Job) -> dict[str, Any]:
    with database.read() as connection:
        progress = last_event(connection, job.id, "progress") or {}
        position = position_of(connection, job)
    return {
        "id": job.id,
        "project": job.project,
        "kind": job.kind,
        "version": job.version,
        "state": job.state,
        "options": job.options.model_dump(),
        "by": job.by,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "attempts": job.attempts,
        "position": position,
        "error": job.error,
        "result": job.result,
        "overall": 1.0 if job.state == "done" else progress.get("overall"),
        "overall_left_s": None if job.state in ENDED else progress.get("overall_left_s"),
    }
