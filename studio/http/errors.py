"""Exception handler: answers any error with a problem document."""

import errno
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.errors import BundleError, FacemaskError, PictureError, reason_of
from models.problems import MEDIA_TYPE, problem_document
from studio.problems import BadRequest, BundleGone, DiskFull, InternalError, StudioError

log = logging.getLogger("facemask.studio")

_DISK_FAULTS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error that was raised while a request was handled."""
    # The framework hides what its parser of the body met: see `middleware.BoundedBody`.
    known = getattr(request.state, "body_error", None) or _known(request, error)
    if isinstance(known, HTTPException):
        code = HTTPStatus(known.status_code).phrase.lower().replace(" ", "_").replace("-", "_")
        headers = dict(known.headers or {})
        return _respond(request, known.status_code, code, str(known.detail), headers)
    headers = dict(getattr(known, "headers", {}))
    if known.retry_after_s:
        headers["Retry-After"] = str(known.retry_after_s)
    members = getattr(known, "members", {})
    return _respond(request, known.status, known.code, str(known), headers, **members)


def _known(request: Request, error: Exception) -> FacemaskError | HTTPException:
    """Return the error itself if it has a status, else the one that stands for it."""
    if isinstance(error, RequestValidationError):
        return BadRequest(_sentence_of(error))
    if isinstance(error, BundleError):
        return BundleGone(str(error))
    if isinstance(error, StudioError | PictureError | HTTPException):
        return error
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        log.error("%s: %s", request.scope["path"], error)
        return DiskFull(f"The studio cannot write to its disk ({reason_of(error)}).")
    log.error("unexpected error on %s", request.scope["path"], exc_info=error)
    return InternalError()


def _sentence_of(error: RequestValidationError) -> str:
    """Return one sentence about the first invalid value of a request."""
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"] if step not in ("body", "query", "path"))
    return f"{where or 'The body'}: {first['msg'].removeprefix('Value error, ')}."


def _respond(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str],
    **members: Any,
) -> Response:
    request.state.code = code  # for the access log
    request_id = getattr(request.state, "request_id", None)
    document = problem_document(status, code, detail, request_id, **members)
    return Response(
        json.dumps(document, ensure_ascii=False).encode(),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )
