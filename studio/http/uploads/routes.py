"""Uploads: the plan of a drop, missing files, pictures, zip files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from models.errors import reason_of
from models.text import clean
from studio.formats.archive import Summary, import_zip, plan_in_project
from studio.http.state import actor_of, state_of
from studio.http.uploads.bodies import (
    MAX_CHECKED,
    MAX_PATH_CHARS,
    MAX_PATHS,
    read_form,
    receive,
    require_room,
    upload_gate,
)
from studio.pictures.examine import Limits
from studio.pictures.intake import IncomingFile, add_files, add_known
from studio.pictures.recording import Result
from studio.pictures.upload_plan import PlannedFile, Split, file_in_batch, sort_paths
from studio.problems import BadName, DiskFull
from studio.projects.names import checked_label
from studio.projects.projects import describe_project

router = APIRouter(tags=["upload"])


_Path = Annotated[str, Field(max_length=MAX_PATH_CHARS)]
_SplitQuery = Annotated[Split | None, Query(description="What to do with splits.")]
_Drop = Annotated[
    str | None, Query(max_length=64, description="UUID of the drop, to undo it as one act.")
]


class Paths(BaseModel):
    """Paths of a drop."""

    paths: list[_Path] = Field(max_length=MAX_PATHS)


class KnownFile(BaseModel):
    """A file by its digest."""

    path: _Path
    label: str | None = Field(default=None, max_length=1000)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class KnownFiles(BaseModel):
    """Files by their digests."""

    files: list[KnownFile] = Field(max_length=MAX_CHECKED)


@router.post("/api/projects/{project}/plan", summary="What a drop of files means")
def plan(request: Request, project: int, body: Paths, split: _SplitQuery = None) -> dict[str, Any]:
    """Return the layout of a drop, each picture's label, and what is refused, from its paths."""
    database = request.app.state.database
    return plan_in_project(database, project, body.paths, split).to_json()


@router.post("/api/projects/{project}/uploads/check", summary="Which files are missing")
def check(
    request: Request,
    project: int,
    body: KnownFiles,
    split: _SplitQuery = None,
    drop: _Drop = None,
) -> dict[str, Any]:
    """Add the files that the studio holds already, and return the digests of the others."""
    given = {file.path: file.label for file in body.files}
    files, faults = _dropped(list(given), given, split)
    wanted = [(files[one.path], one.sha256) for one in body.files if one.path in files]
    results, missing = add_known(
        request.app.state.database,
        request.app.state.blobs,
        project,
        wanted,
        by=actor_of(request).name,
        drop=drop,
    )
    known = sorted({one.sha256 for one in body.files} - set(missing))
    return {
        "known": known,
        "missing": missing,
        "results": [_to_json(one) for one in [*results, *faults]],
    }


@router.post("/api/projects/{project}/pictures", summary="Upload pictures")
async def upload(
    request: Request, project: int, split: _SplitQuery = None, drop: _Drop = None
) -> dict[str, Any]:
    """Add the pictures of a form: parts `files`, and `labels` and `paths` as JSON."""
    require_room(request)
    async with upload_gate(request):
        data, given = await read_form(request)
        return await run_in_threadpool(_add, request, project, data, given, split, drop)


@router.post("/api/projects/{project}/archive", summary="Upload a zip file")
async def archive(
    request: Request, project: int, split: _SplitQuery = None, drop: _Drop = None
) -> dict[str, Any]:
    """Add the pictures of a zip file, the request's body, and apply its tables."""
    require_room(request)
    path = request.app.state.blobs.incoming()
    try:
        await receive(request, path)
        return await run_in_threadpool(_add_archive, request, project, path, split, drop)
    finally:
        path.unlink(missing_ok=True)


def _add(
    request: Request,
    project: int,
    data: Sequence[tuple[str, bytes]],
    given: dict[str, str | None],
    split: Split | None,
    drop: str | None,
) -> dict[str, Any]:
    """Add the files of a form; return a result for each, in their order."""
    files, faults = _dropped([path for path, _ in data], given, split)
    failed = {one.path: one for one in faults}
    incoming = [IncomingFile(files[path], content) for path, content in data if path in files]
    try:
        added = add_files(
            request.app.state.database,
            request.app.state.blobs,
            project,
            incoming,
            by=actor_of(request).name,
            limits=_limits(request),
            drop=drop,
        )
    except OSError as error:
        raise DiskFull(f"The pictures cannot be stored ({reason_of(error)}).") from error
    results = iter(added)
    ordered = [next(results) if path in files else failed[path] for path, _ in data]
    return {
        "results": [_to_json(one) for one in ordered],
        "counts": _counts(request, project),
    }


def _add_archive(
    request: Request, project: int, path: Path, split: Split | None, drop: str | None
) -> dict[str, Any]:
    settings = state_of(request).settings
    try:
        summary = import_zip(
            request.app.state.database,
            request.app.state.blobs,
            project,
            path,
            by=actor_of(request).name,
            limits=_limits(request),
            max_files=settings.max_archive_files,
            max_bytes=settings.max_archive_bytes,
            split=split,
            drop=drop,
        )
    except OSError as error:
        raise DiskFull(f"The pictures cannot be stored ({reason_of(error)}).") from error
    return summary_to_json(summary) | {"counts": _counts(request, project)}


def _dropped(
    paths: Sequence[str], given: dict[str, str | None], split: Split | None
) -> tuple[dict[str, PlannedFile], list[Result]]:
    """Return the pictures of a batch with the labels that the plan gave, and what is refused."""
    found = sort_paths(paths)
    faults = [
        Result(path, "refused", reason=reason, code="not_a_picture")
        for path, reason in found.refused.items()
    ]
    faults += [
        Result(path, "refused", reason="a table: send it to /tables", code="not_a_picture")
        for path in found.tables
    ]
    files: dict[str, PlannedFile] = {}
    for path, normal in found.pictures.items():
        label = given.get(path)
        try:
            label = None if label is None else checked_label(label)
        except BadName as error:
            faults.append(Result(path, "refused", reason=str(error), code=error.code))
            continue
        file = file_in_batch(path, normal, label, split)
        if split == "train" and file.test_set:
            reason = f"left out: {file.test_set} is not for training"
            faults.append(Result(path, "refused", reason=reason, code="not_for_training"))
        else:
            files[path] = file
    return files, faults


def _limits(request: Request) -> Limits:
    settings = state_of(request).settings
    return Limits(settings.max_file_bytes, settings.max_pixels, settings.decode_s)


def _counts(request: Request, project: int) -> dict[str, Any]:
    with request.app.state.database.read() as connection:
        counts: dict[str, Any] = describe_project(connection, project)["counts"]
    return counts


def summary_to_json(summary: Summary) -> dict[str, Any]:
    """Return the result of a zip file's import, for the page."""
    return {
        "results": [_to_json(one) for one in summary.results],
        "added": summary.counts["added"],
        "duplicates": summary.counts["duplicate"],
        "refused": summary.counts["refused"],
        "conflicts": summary.conflicts,
        "tables": {path: applied.to_json() for path, applied in summary.tables.items()},
    }


def _to_json(result: Result) -> dict[str, Any]:
    return {
        "path": clean(result.path),
        "sha256": result.sha256,
        "status": result.status,
        "reason": result.reason,
        "code": result.code,
        "picture": result.picture,
        "label": result.label,
        "conflict": result.conflict,
    }
