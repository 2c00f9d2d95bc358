"""Projects and their classes."""

import logging
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection, select
from starlette.responses import Response

from models.bundle.store import current_version
from models.errors import BundleError
from studio.database.tables import jobs, runs
from studio.http.state import actor_of, state_of
from studio.jobs.queue import cancel_jobs
from studio.labels.classes import add_class, rename_class
from studio.pictures.removal import delete_files
from studio.problems import StudioError
from studio.projects.projects import (
    create_project,
    describe_project,
    project_ids,
    remove_project,
    rename_project,
)
from studio.versions.versions import count_changes, latest_version

log = logging.getLogger("facemask.studio")

router = APIRouter(tags=["projects"])

_RUNNING = ("queued", "running", "cancelling")


class Name(BaseModel):
    """A name for a project or a class."""

    name: str = Field(max_length=1000)


@router.get("/api/projects", summary="List the projects")
def list_projects(request: Request) -> dict[str, Any]:
    """Return all projects, the newest first."""
    with request.app.state.database.read() as connection:
        found = [_describe(request, connection, id) for id in project_ids(connection)]
    return {"projects": found}


@router.post("/api/projects", status_code=201, summary="Create a project")
def create(request: Request, body: Name) -> dict[str, Any]:
    """Create an empty project."""
    with request.app.state.database.write() as connection:
        project = create_project(connection, body.name)
    return read(request, project)


@router.get("/api/projects/{project}", summary="A project")
def read(request: Request, project: int) -> dict[str, Any]:
    """Return a project: classes, counts, its newest version and run, what is live."""
    with request.app.state.database.read() as connection:
        return _describe(request, connection, project)


@router.patch("/api/projects/{project}", summary="Rename a project")
def rename(request: Request, project: int, body: Name) -> dict[str, Any]:
    """Rename a project."""
    with request.app.state.database.write() as connection:
        rename_project(connection, project, body.name)
    return read(request, project)


@router.delete("/api/projects/{project}", status_code=204, summary="Remove a project")
def remove(request: Request, project: int) -> Response:
    """Remove a project, cancel its jobs, and delete its pictures; its history and models are kept.

    Pictures that another project has, too, stay there.
    """
    database = request.app.state.database
    with database.write() as connection:
        remove_project(connection, project)
        cancel_jobs(connection, project)
    state_of(request).supervisor.wake()
    try:
        delete_files(database, request.app.state.blobs)
    except (OSError, StudioError) as error:  # the project is removed; the next start goes on
        log.warning("files of project %s cannot be deleted: %s", project, error)
    return Response(status_code=204)


@router.post("/api/projects/{project}/classes", status_code=201, summary="Add a class")
def create_class(request: Request, project: int, body: Name) -> dict[str, Any]:
    """Add a class."""
    by = actor_of(request).name
    return {"name": add_class(request.app.state.database, project, name=body.name, by=by)}


@router.patch("/api/projects/{project}/classes/{name}", summary="Rename a class")
def change_class(request: Request, project: int, name: str, body: Name) -> dict[str, Any]:
    """Rename a class; its pictures keep it."""
    by = actor_of(request).name
    database = request.app.state.database
    return {"name": rename_class(database, project, name=name, to=body.name, by=by)}


def _describe(request: Request, connection: Connection, project: int) -> dict[str, Any]:
    described = describe_project(connection, project)
    latest = latest_version(connection, project)
    described["latest_version"] = None if latest is None else latest.id
    described["counts"]["changed"] = count_changes(
        connection, request.app.state.versions, project, latest
    )
    job = connection.execute(
        select(jobs.c.id, jobs.c.kind, jobs.c.state)
        .where(jobs.c.project == project, jobs.c.state.in_(_RUNNING))
        .order_by(jobs.c.id.desc())
        .limit(1)
    ).one_or_none()
    described["running_job"] = None if job is None else dict(job._mapping)
    run = connection.execute(
        select(runs.c.id, runs.c.version, runs.c.bundle, runs.c.created_at, runs.c.figures)
        .where(runs.c.project == project)
        .order_by(runs.c.id.desc())
        .limit(1)
    ).one_or_none()
    latest_run = None if run is None else dict(run._mapping)
    if latest_run is not None:
        latest_run["answered"] = latest_run.pop("figures").get("answered", {}).get("value")
    described["latest_run"] = latest_run
    described["live"] = _live(request, connection, project)
    return described


def _live(request: Request, connection: Connection, project: int) -> dict[str, Any] | None:
    """Return the project's run whose model is live, if it is one of its runs."""
    settings = state_of(request).settings
    try:
        bundle = current_version(settings.store)
    except BundleError:
        return None
    run = connection.execute(
        select(runs.c.id).where(runs.c.project == project, runs.c.bundle == bundle)
    ).scalar_one_or_none()
    if run is None:
        return None
    return {"run": run, "version": bundle, "service_url": settings.service_url}
