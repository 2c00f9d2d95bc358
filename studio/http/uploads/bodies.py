"""Bodies of uploads: forms with pictures, zip files and tables, within the limits."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from models.errors import reason_of
from studio.http.state import state_of
from studio.problems import BadRequest, BadUpload, DiskFull, TooManyFiles, UnsupportedMedia

MAX_PATHS: Final = 100_000
"""Max paths of one plan."""

MAX_CHECKED: Final = 1_000
"""Max files of one check."""

MAX_PATH_CHARS: Final = 4_096
"""Max characters of a path in a drop."""

_MAX_FIELD_BYTES: Final = 2**20
_MAX_FIELDS: Final = 8
_CUT: Final = "The connection ended before the request's body did."
_MAX_UPLOADS_IN_MEMORY: Final = 8
_DISK_RESERVE_BYTES: Final = 256 * 2**20


def upload_gate(request: Request) -> asyncio.Semaphore:
    """Return the semaphore that bounds how many bodies are in memory; others wait unread."""
    state = request.app.state
    if not hasattr(state, "upload_gate"):
        state.upload_gate = asyncio.Semaphore(_MAX_UPLOADS_IN_MEMORY)
    gate: asyncio.Semaphore = state.upload_gate
    return gate


async def read_form(
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
    if not all(isinstance(value, str) and len(value) <= MAX_PATH_CHARS for value in values):
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


async def receive(request: Request, path: Path) -> None:
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


def require_room(request: Request) -> None:
    """Raise if the disk has no room for the announced body and a reserve.

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
