"""Labels and groups from files: labels.csv, groups.csv, and annotations of other tools."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from studio.formats.archive import load_json, read_annotations
from studio.formats.label_studio import read_label_studio
from studio.formats.matching import apply_values
from studio.http.state import actor_of
from studio.http.uploads.bodies import body_of
from studio.pictures.csv_tables import TableKind, parse_table

router = APIRouter(tags=["upload"])


@router.post("/api/projects/{project}/tables", summary="Apply labels.csv or groups.csv")
async def table(request: Request, project: int, kind: TableKind) -> dict[str, Any]:
    """Give pictures the labels or groups of a table, as one act."""
    data = await body_of(request)
    database, by = request.app.state.database, actor_of(request).name

    def apply() -> dict[str, Any]:
        values = parse_table(data, kind)
        return apply_values(database, project, kind, values, by=by, source=f"{kind}.csv").to_json()

    return await run_in_threadpool(apply)


@router.post("/api/projects/{project}/import", summary="Apply annotations of another tool")
async def import_annotations(
    request: Request,
    project: int,
    format: Literal["label-studio", "cloud-annotations"],
) -> dict[str, Any]:
    """Give the project's pictures the labels of another tool's JSON, as one act."""
    data = await body_of(request)
    database, by = request.app.state.database, actor_of(request).name

    def apply() -> dict[str, Any]:
        if format == "label-studio":
            values = read_label_studio(load_json(data))
        else:
            values = read_annotations(data)
        return apply_values(database, project, "labels", values, by=by, source=format).to_json()

    return await run_in_threadpool(apply)
