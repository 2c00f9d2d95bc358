"""Versions: make, list, compare, go back, export."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.responses import FileResponse, JSONResponse, Response

from studio.database.tables import runs
from studio.formats.export import Format, file_name, write_annotations, write_zip
from studio.http.files import RangedFileResponse
from studio.http.state import actor_of
from studio.projects.projects import project_row
from studio.versions.versions import (
    MAX_NOTE_CHARS,
    compare,
    create,
    describe_version,
    ids_of,
    list_versions,
    restore,
    version_row,
)

router = APIRouter(tags=["versions"])


class Note(BaseModel):
    """A note about a version."""

    note: str = Field(default="", max_length=MAX_NOTE_CHARS)


@router.get("/api/projects/{project}/versions", summary="List the versions")
def list_all(request: Request, project: int) -> dict[str, Any]:
    """Return a project's versions, the newest first, with their runs."""
    with request.app.state.database.read() as connection:
        found = list_versions(connection, project)
        trained: dict[int, list[int]] = {one["id"]: [] for one in found}
        for row in connection.execute(
            select(runs.c.version, runs.c.id).where(runs.c.project == project).order_by(runs.c.id)
        ):
            trained.setdefault(row.version, []).append(row.id)
    return {"versions": [one | {"runs": trained[one["id"]]} for one in found]}


@router.post(
    "/api/projects/{project}/versions",
    status_code=201,
    summary="Make a version",
    responses={200: {"description": "There is a version of the same content."}},
)
def make(request: Request, project: int, body: Note | None = None) -> Response:
    """Freeze the project's present content; the same content as before gives the same version."""
    state = request.app.state
    note = "" if body is None else body.note
    made = create(state.database, state.versions, project, by=actor_of(request).name, note=note)
    document = _read(request, project, made.id) | {"created": made.created}
    return JSONResponse(document, status_code=201 if made.created else 200)


@router.get("/api/projects/{project}/versions/{version}", summary="A version")
def read(request: Request, project: int, version: int) -> dict[str, Any]:
    """Return a version."""
    return _read(request, project, version)


@router.get("/api/projects/{project}/versions/{a}/diff/{b}", summary="Compare two versions")
def diff(request: Request, project: int, a: int, b: int) -> dict[str, Any]:
    """Return the ids of the pictures in which version `b` differs from version `a`."""
    state = request.app.state
    with state.database.read() as connection:
        earlier = version_row(connection, project, a).digest
        later = version_row(connection, project, b).digest
        found = compare(state.versions.read(earlier), state.versions.read(later))
        changed = [*found.added, *found.removed, *found.relabelled, *found.regrouped]
        ids = ids_of(connection, project, changed)
    return {
        "added": [ids[sha256] for sha256 in found.added if sha256 in ids],
        "removed": [ids[sha256] for sha256 in found.removed if sha256 in ids],
        "relabelled": _pairs(found.relabelled, ids),
        "regrouped": _pairs(found.regrouped, ids),
    }


@router.post("/api/projects/{project}/versions/{version}/restore", summary="Go back to a version")
def go_back(request: Request, project: int, version: int) -> dict[str, Any]:
    """Give the project the pictures, labels and groups of a version, as one act."""
    state = request.app.state
    changed = restore(state.database, state.versions, project, version, by=actor_of(request).name)
    return {"changed": changed}


@router.get(
    "/api/projects/{project}/versions/{version}/export",
    summary="Export a version",
    response_class=FileResponse,
)
def export(request: Request, project: int, version: int, format: Format = "zip") -> Response:
    """Return a version as a zip of folders, or its labels as another tool's JSON."""
    state = request.app.state
    with state.database.read() as connection:
        row = version_row(connection, project, version)
        name = file_name(format, project_row(connection, project).name, row.number)
    manifest = state.versions.read(row.digest)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if format != "zip":
        data = write_annotations(manifest, format)
        return Response(data, media_type="application/json", headers=headers)
    path = state.blobs.incoming()
    try:
        with open(path, "xb") as file:
            write_zip(manifest, state.blobs, file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return RangedFileResponse(  # the same version gives the same bytes
        path, "application/zip", tag=f"{row.digest}-zip", headers=headers, is_temporary=True
    )


def _read(request: Request, project: int, version: int) -> dict[str, Any]:
    with request.app.state.database.read() as connection:
        return describe_version(version_row(connection, project, version))


def _pairs(
    changed: dict[str, tuple[str | None, str | None]], ids: dict[str, int]
) -> list[dict[str, Any]]:
    return [
        {"picture": ids[sha256], "a": a, "b": b}
        for sha256, (a, b) in changed.items()
        if sha256 in ids
    ]
