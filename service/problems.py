"""Errors that callers see: RFC 9457 problem documents, each with a stable code.

    FacemaskError
    └── ServiceError             the request cannot be answered
        ├── NoModel              503  no model is being served yet
        ├── Overloaded           429  as many pictures are waiting as are allowed
        ├── TooManyConnections   503  as many connections are open as are allowed
        ├── SlowRequest          408  the headers or the body take too long to come
        ├── HeaderTooLarge       431  the request's line and headers are larger than allowed
        ├── BadRequest           400  the request is no HTTP
        ├── DeadlinePassed       504  no answer within the time allowed
        ├── Stopping             503  the service is shutting down
        ├── Stuck                503  the model's worker has died or hangs
        ├── KeyRequired          401  the request brings no API key
        ├── KeyRefused           401  the API key is not known
        ├── WrongHost            421  the Host header names another service
        ├── BodyTooLarge         413  the body is larger than allowed
        ├── TooManyFiles         413  more pictures than a request may hold
        ├── UnsupportedMedia     415  neither multipart nor a picture
        ├── BadUpload            400  a multipart body that breaks its format
        ├── BadInference         400  a request that breaks the Open Inference Protocol
        ├── UnknownModel         404  another model or version than the one that is served
        ├── BadQuery             400  a query parameter with a value that it does not take
        ├── NoPictures           400  a body without a picture
        ├── FacesUnavailable     501  faces are asked for, and there is no detector here
        └── NothingReadable      422  no picture of the request could be read

One table maps errors to statuses. Whatever is not in it is a bug: it answers a bare 500,
and the log has the rest.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from models.errors import (
    BundleError,
    EmptyPicture,
    FacemaskError,
    FileTooLarge,
    ImageTooCostly,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedFormat,
)

log = logging.getLogger("facemask")

MEDIA_TYPE: Final = "application/problem+json"


class ServiceError(FacemaskError):
    """The request cannot be answered.

    Attributes:
        retry_after_s: When to come again, where that makes sense.
        headers: Of the answer.
        members: Further members of the problem document.
    """

    retry_after_s: int | None = None
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str, **members: Any) -> None:
        """Take one sentence for the caller, and further members of the problem document."""
        super().__init__(detail)
        self.members = members


class NoModel(ServiceError):
    """No model is being served yet."""

    code = "no_model"
    retry_after_s = 5


class Overloaded(ServiceError):
    """As many pictures are waiting as are allowed."""

    code = "overloaded"
    retry_after_s = 1


class TooManyConnections(ServiceError):
    """As many connections are open as are allowed."""

    code = "too_many_connections"
    retry_after_s = 1


class SlowRequest(ServiceError):
    """The request's headers or its body take too long to come."""

    code = "slow_request"
    headers: Mapping[str, str] = {"Connection": "close"}


class HeaderTooLarge(ServiceError):
    """The request's line and headers are larger than allowed."""

    code = "header_too_large"


class BadRequest(ServiceError):
    """The request is no HTTP."""

    code = "bad_request"


class DeadlinePassed(ServiceError):
    """No answer within the time allowed."""

    code = "deadline_passed"


class Stopping(ServiceError):
    """The service is shutting down."""

    code = "stopping"
    retry_after_s = 1


class Stuck(ServiceError):
    """The model's worker has died or hangs."""

    code = "stuck"
    retry_after_s = 5


class KeyRequired(ServiceError):
    """The request brings no API key."""

    code = "key_required"
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class KeyRefused(ServiceError):
    """The API key is not known."""

    code = "key_refused"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class WrongHost(ServiceError):
    """The Host header names another service."""

    code = "wrong_host"


class BodyTooLarge(ServiceError):
    """The body is larger than allowed."""

    code = "body_too_large"


class TooManyFiles(ServiceError):
    """More pictures than a request may hold."""

    code = "too_many_files"


class UnsupportedMedia(ServiceError):
    """The body is neither multipart nor a picture."""

    code = "unsupported_media_type"


class BadUpload(ServiceError):
    """A multipart body that breaks its format."""

    code = "bad_upload"


class BadInference(ServiceError):
    """A request that breaks the Open Inference Protocol."""

    code = "bad_inference"


class UnknownModel(ServiceError):
    """Another model or version than the one that is served."""

    code = "unknown_model"


class BadQuery(ServiceError):
    """A query parameter has a value that it does not take."""

    code = "bad_query"


class NoPictures(ServiceError):
    """A body without a picture."""

    code = "no_pictures"


class FacesUnavailable(ServiceError):
    """Faces are asked for, and there is no detector here."""

    code = "faces_unavailable"


class NothingReadable(ServiceError):
    """None of several pictures could be read; `errors` says why of each."""

    code = "nothing_readable"


STATUSES: Final[Mapping[type[FacemaskError], HTTPStatus]] = {
    EmptyPicture: HTTPStatus.BAD_REQUEST,
    UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UndecodableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    FileTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageTooCostly: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NoModel: HTTPStatus.SERVICE_UNAVAILABLE,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyConnections: HTTPStatus.SERVICE_UNAVAILABLE,
    SlowRequest: HTTPStatus.REQUEST_TIMEOUT,
    HeaderTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    BadRequest: HTTPStatus.BAD_REQUEST,
    DeadlinePassed: HTTPStatus.GATEWAY_TIMEOUT,
    Stopping: HTTPStatus.SERVICE_UNAVAILABLE,
    Stuck: HTTPStatus.SERVICE_UNAVAILABLE,
    KeyRequired: HTTPStatus.UNAUTHORIZED,
    KeyRefused: HTTPStatus.UNAUTHORIZED,
    WrongHost: HTTPStatus.MISDIRECTED_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooManyFiles: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BadUpload: HTTPStatus.BAD_REQUEST,
    BadInference: HTTPStatus.BAD_REQUEST,
    UnknownModel: HTTPStatus.NOT_FOUND,
    BadQuery: HTTPStatus.BAD_REQUEST,
    NoPictures: HTTPStatus.BAD_REQUEST,
    FacesUnavailable: HTTPStatus.NOT_IMPLEMENTED,
    NothingReadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    # A bundle that is refused never reaches a caller; that one would be a bug.
    BundleError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(error: FacemaskError) -> HTTPStatus:
    """The status of an error, by its class or the nearest ancestor in the table."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def document_of(
    status: HTTPStatus, code: str, detail: str, request_id: str | None
) -> dict[str, Any]:
    """The members that every problem document has."""
    return {
        "type": f"urn:facemask:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def problem(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document as the answer to a request."""
    request_id = getattr(request.state, "request_id", None)
    request.state.code = code  # for the log and the metrics
    # What answers unexpected errors stands outside the middleware that adds the id.
    own = {} if request_id is None else {"X-Request-ID": request_id}
    document = document_of(status, code, detail, request_id) | dict(members or {})
    if request.scope["path"].startswith("/v2"):
        document["error"] = detail  # where the Open Inference Protocol's clients look
    return Response(
        json.dumps(document, ensure_ascii=False).encode(),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={**own, **(headers or {})},
    )


def all_failed(failures: Sequence[tuple[int, str | None, FacemaskError]]) -> FacemaskError:
    """The error of a request of which no picture could be read: its only one, or all of them."""
    if len(failures) == 1:
        return failures[0][2]
    return NothingReadable(
        f"None of the {len(failures)} pictures can be read.",
        errors=[
            {"index": index, "filename": filename, "code": error.code, "detail": str(error)}
            for index, filename, error in failures
        ],
    )


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer any error that a route raised."""
    if isinstance(error, FacemaskError):
        status = status_of(error)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, ServiceError):
            retry = getattr(error, "retry_after_s", None)
            return problem(
                request,
                status,
                error.code,
                str(error),
                headers={
                    **getattr(error, "headers", {}),
                    **({"Retry-After": str(retry)} if retry else {}),
                },
                members=getattr(error, "members", None),
            )
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "_").replace("-", "_")
        return problem(request, status, code, str(error.detail), headers=error.headers)
    log.error("unexpected error on %s", request.scope["path"], exc_info=error)
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "The service failed at this request; its log says why.",
    )
