"""Uploads: the plan of a drop, missing files, pictures, zip files, tables, annotations."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from models.errors import reason_of
from models.text import clean
from studio.formats.archive import (
    Summary,
    import_zip,
    load_json,
    plan_in_project,
    read_annotations,
)
from studio.formats.label_studio import read_label_studio
from studio.formats.matching import apply_values
from studio.http.state import actor_of, state_of
from studio.pictures.csv_tables import TableKind, parse_table
from studio.pictures.drop import DroppedFile, Split, file_in_batch, sort_paths
from studio.pictures.examine import Limits
from studio.pictures.intake import IncomingFile, Result, add_files, add_known
from studio.problems import BadName, BadRequest, BadUpload, DiskFull, TooManyFiles, UnsupportedMedia
from studio.projects.names import checked_label
from studio.projects.projects import describe_project

router = APIRouter(tags=["upload"])

MAX_PATHS: Final = 100_000
"""Max paths of one plan."""

MAX_CHECKED: Final = 1_000
"""Max files of one check."""

_MAX_PATH_CHARS: Final = 4_096
_MAX_FIELD_BYTES: Final = 2**20
_MAX_FIELDS: Final = 8
_CUT: Final = "The connection ended before the request's body did."
_MAX_UPLOADS_IN_MEMORY: Final = 8
_DISK_RESERVE_BYTES: Final = 256 * 2**20

_Path = Annotated[str, Field(max_length=_MAX_PATH_CHARS)]
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
    _require_room(request)
    async with _gate(request):
        data, given = await _read_form(request)
        return await run_in_threadpool(_add, request, project, data, given, split, drop)


@router.post("/api/projects/{project}/archive", summary="Upload a zip file")
async def archive(
    request: Request, project: int, split: _SplitQuery = None, drop: _Drop = None
) -> dict[str, Any]:
    """Add the pictures of a zip file, the request's body, and apply its tables."""
    _require_room(request)
    path = request.app.state.blobs.incoming()
    try:
        await _receive(request, path)
        return await run_in_threadpool(_add_archive, request, project, path, split, drop)
    finally:
        path.unlink(missing_ok=True)


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
) -> tuple[dict[str, DroppedFile], list[Result]]:
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
    files: dict[str, DroppedFile] = {}
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


def _gate(request: Request) -> asyncio.Semaphore:
    """Return the semaphore that bounds how many bodies are in memory; others wait unread."""
    state = request.app.state
    if not hasattr(state, "upload_gate"):
        state.upload_gate = asyncio.Semaphore(_MAX_UPLOADS_IN_MEMORY)
    gate: asyncio.Semaphore = state.upload_gate
    return gate


async def _read_form(
    request: Request,
) -> tuple[list[tuple[str, bytes]], dict[str, str | None]]:
    """Return path and content of each file of a form, and label by path.

    Raises:
        UnsupportedMedia, BadUpload, TooManyFiles: As the names say.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UnsupportedMedia("Send multipart/form-data with pictures in 'files'.")
    limit = state_of(request).settings.max_files
    try:
        async with request.form(
            max_files=limit, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES
        ) as form:
            files = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
            given = _json_field(form.get("labels"), "labels", dict) or {}
            paths = _json_field(form.get("paths"), "paths", list)
            paths = [file.filename or "" for file in files] if paths is None else paths
            _check_paths(paths, given, len(files))
            contents = [await file.read() for file in files]
    except ClientDisconnect as error:
        raise BadUpload(_CUT) from error
    except HTTPException as error:
        if "Too many files" in str(error.detail):
            raise TooManyFiles(f"A request may hold {limit} pictures.") from error
        raise BadUpload(f"The multipart body is malformed ({error.detail}).") from error
    return list(zip(paths, contents, strict=True)), given


def _check_paths(paths: list[Any], given: dict[str, Any], number: int) -> None:
    """Raise unless each file of a form has a path of its own, and labels are texts.

    Raises:
        BadUpload: There is no file; the body may be cut short.
        BadRequest: The paths or the labels are not valid.
    """
    if not number:
        raise BadUpload("The form holds no picture in 'files', or is cut short.")
    if len(paths) != number:
        raise BadRequest("paths needs one path per file, in their order.")
    values = [*paths, *given, *(label for label in given.values() if label is not None)]
    if not all(isinstance(value, str) and len(value) <= _MAX_PATH_CHARS for value in values):
        raise BadRequest("Paths and labels are texts.")
    if len(set(paths)) != len(paths):
        raise BadRequest("Two files have one path.")


def _json_field(value: Any, name: str, kind: type) -> Any:
    """Return a part of a form that holds JSON, None without it."""
    if value is None:
        return None
    if isinstance(value, UploadFile):
        value = value.file.read(_MAX_FIELD_BYTES + 1)
        if len(value) > _MAX_FIELD_BYTES:
            raise BadUpload(f"The part {name!r} is over {_MAX_FIELD_BYTES:,} bytes.")
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadUpload(f"The part {name!r} is not JSON.") from error
    if not isinstance(found, kind):
        raise BadUpload(f"The part {name!r} is no {'object' if kind is dict else 'list'}.")
    return found


async def body_of(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        BadUpload: The connection ended early.
    """
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise BadUpload(_CUT) from error


async def _receive(request: Request, path: Path) -> None:
    """Write a request's body into a file.

    Raises:
        BadUpload: The connection ended early.
        DiskFull: The disk has no room for it.
    """
    handle = await run_in_threadpool(open, path, "xb")
    try:
        async for chunk in request.stream():
            await run_in_threadpool(handle.write, chunk)
    except ClientDisconnect as error:
        raise BadUpload(_CUT) from error
    except OSError as error:
        raise DiskFull(f"The zip file cannot be stored ({reason_of(error)}).") from error
    finally:
        await run_in_threadpool(handle.close)


def _require_room(request: Request) -> None:
    """Raise if the disk cannot take the announced body beside a reserve.

    Raises:
        DiskFull: There is too little room.
    """
    announced = request.headers.get("content-length", "0")
    size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    folder: Path = request.app.state.blobs.folder
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if free < size + _DISK_RESERVE_BYTES:
        raise DiskFull(
            f"The disk has {free >> 20:,} MiB free: not enough for this upload and the "
            f"{_DISK_RESERVE_BYTES >> 20} MiB that the studio leaves free."
        )


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
