"""Exception handler: answers any error with a problem document."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.errors import PictureError
from models.problems import MEDIA_TYPE, problem_document
from models.text import clean
from service.problems import InternalError, ServiceError

log = logging.getLogger("facemask")


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error that was raised while a request was handled."""
    if isinstance(error, HTTPException):  # the framework's: 404, 405
        return _answer_framework_error(request, error)
    if not isinstance(error, PictureError | ServiceError):
        log.error("unexpected error on %s", request.scope["path"], exc_info=error)
        error = InternalError()
    headers: dict[str, str] = {}
    members: Mapping[str, Any] = {}
    if isinstance(error, ServiceError):
        headers, members = dict(error.headers), error.members
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    return _respond(request, error.status, error.code, str(error), headers, **members)


def _answer_framework_error(request: Request, error: HTTPException) -> Response:
    status, detail, headers = error.status_code, str(error.detail), dict(error.headers or {})
    code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    if status == HTTPStatus.NOT_FOUND:
        slash = ", and none ends in a slash" if request.scope["path"].endswith("/") else ""
        detail = f"No such path{slash}: GET /docs lists those that exist."
    methods = headers.get("Allow", "").split(", ")
    if "GET" in methods and "HEAD" not in methods:  # `HeadMiddleware` answers it
        headers["Allow"] = ", ".join(sorted([*methods, "HEAD"]))
    if status == HTTPStatus.METHOD_NOT_ALLOWED and "Allow" in headers:
        detail = f"This path answers {headers['Allow']} only."
    return _respond(request, status, code, detail, headers)


def _respond(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str],
    **members: Any,
) -> Response:
    request_id = getattr(request.state, "request_id", None)
    request.state.code = code  # for the access log and the metrics
    if request.scope["path"].startswith("/v2"):
        members["error"] = clean(detail)  # where clients of the Open Inference Protocol look
    # Unexpected errors are answered outside the middleware that adds the id.
    own_headers = {} if request_id is None else {"X-Request-ID": request_id}
    return Response(
        json.dumps(
            problem_document(status, code, detail, request_id, **members), ensure_ascii=False
        ).encode(),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={**own_headers, **headers},
    )
