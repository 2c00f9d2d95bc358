"""Errors that callers see, as RFC 9457 problem documents with a stable code.

A class holds all facts about its error: code, status, example and meaning (the first line of its
docstring). The documentation is generated from it. To add an error, write its class, and list it
in the `problem_responses()` of the operations that raise it.

Any other error is a bug: it is logged, and answered as a bare `InternalError` (see
`service.http.error_handler`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from models.errors import FacemaskError, PictureError, UndecodableImage, UnsupportedFormat
from models.problems import HttpError, leaves_of
from models.text import clean


class ServiceError(HttpError):
    """The service cannot answer a request."""


class BadRequest(ServiceError):
    """The request is not valid HTTP."""

    code = "bad_request"
    status = 400


class BadQuery(ServiceError):
    """A query parameter has an invalid value."""

    code = "bad_query"
    status = 400
    example = "explain must be true or false."


class BadUpload(ServiceError):
    """The multipart body is malformed or cut short."""

    code = "bad_upload"
    status = 400
    example = "The multipart body breaks its format."


class NoPictures(ServiceError):
    """The body holds no picture."""

    code = "no_pictures"
    status = 400
    example = "The request holds no picture: send one or many in the field 'files'."


class BadInference(ServiceError):
    """The request violates the Open Inference Protocol."""

    code = "bad_inference"
    status = 400


class KeyRequired(ServiceError):
    """The request carries no API key."""

    code = "key_required"
    status = 401
    example = "Send your key as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'."
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class KeyRefused(ServiceError):
    """The API key is unknown."""

    code = "key_refused"
    status = 401
    example = "That key is not known here."
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


class UnknownModel(ServiceError):
    """The model or version in the path is not the one being served."""

    code = "unknown_model"
    status = 404


class NoDocument(ServiceError):
    """The model was published without this document: report, model card or example picture."""

    code = "not_found"
    status = 404
    example = "This model was published without a report."


class SlowRequest(ServiceError):
    """The request's headers or body take too long to arrive."""

    code = "slow_request"
    status = 408
    example = "The request's body did not come within 20 s."
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class BodyTooLarge(ServiceError):
    """The request body is larger than allowed."""

    code = "body_too_large"
    status = 413
    example = "The request's body is larger than the 67,108,864 bytes allowed."


class TooManyFiles(ServiceError):
    """The request holds more pictures than allowed."""

    code = "too_many_files"
    status = 413
    example = "A request may hold 64 pictures."


class UnsupportedMedia(ServiceError):
    """The body is neither multipart nor a picture, or it is compressed."""

    code = "unsupported_media_type"
    status = 415
    example = (
        "text/plain: send multipart/form-data with pictures in 'files', or one picture as an "
        "image/* body."
    )


class WrongHost(ServiceError):
    """The Host header names another service."""

    code = "wrong_host"
    status = 421
    example = "The service does not answer to that Host."


class NothingReadable(ServiceError):
    """None of several pictures can be read; `errors` gives the reason for each."""

    code = "nothing_readable"
    status = 422
    example = "None of the 2 pictures can be read."
    example_members: ClassVar[Mapping[str, Any]] = {
        "errors": [
            {"index": index, "filename": filename, "code": kind.code, "detail": kind.example}
            for index, filename, kind in (
                (0, "torn.png", UndecodableImage),
                (1, "a.txt", UnsupportedFormat),
            )
        ]
    }


class Overloaded(ServiceError):
    """The maximum number of pictures, pixels or body bytes is in progress."""

    code = "overloaded"
    status = 429
    example = "256 pictures are waiting and 256 are allowed: come again."
    retry_after_s = 1


class HeaderTooLarge(ServiceError):
    """The request line and headers are larger than allowed."""

    code = "header_too_large"
    status = 431
    example = "The request's line and headers may have 32,768 bytes."


class InternalError(ServiceError):
    """The service failed unexpectedly; its log has the reason."""

    code = "internal_error"
    status = 500
    example = "The service failed at this request; its log has the reason."


class FacesUnavailable(ServiceError):
    """Faces are requested, but no face detector is installed."""

    code = "faces_unavailable"
    status = 501


class NoModel(ServiceError):
    """No model is being served yet."""

    code = "no_model"
    status = 503
    example = "No model is being served yet: GET /health has the reason."
    retry_after_s = 5


class ModelBehind(ServiceError):
    """The model being served is older than the one that the caller has asked for."""

    code = "model_behind"
    status = 503
    example = "The model in service is older than the one asked for: ask another replica."
    retry_after_s = 1


class Stopping(ServiceError):
    """The service is shutting down."""

    code = "stopping"
    status = 503
    example = "The service is stopping: come again."
    retry_after_s = 1


class Stuck(ServiceError):
    """The model worker is dead or hangs."""

    code = "stuck"
    status = 503
    example = "The model's worker does not answer: restart the service."
    retry_after_s = 5


class TooManyConnections(ServiceError):
    """The maximum number of connections is open."""

    code = "too_many_connections"
    status = 503
    example = "1,100 connections are open: come again."
    retry_after_s = 1


class DeadlinePassed(ServiceError):
    """The request is not answered within the time allowed."""

    code = "deadline_passed"
    status = 504
    example = "No answer within 30 s."


def caller_errors() -> list[type[FacemaskError]]:
    """Return the errors that callers can see, ordered by status and code."""
    return leaves_of(PictureError, ServiceError)


def none_readable(failures: Sequence[tuple[int, str | None, FacemaskError]]) -> FacemaskError:
    """Return the error of a request if none of its pictures can be read.

    Args:
        failures: Index, file name and error of each picture.
    """
    if len(failures) == 1:
        return failures[0][2]
    return NothingReadable(
        f"None of the {len(failures)} pictures can be read.",
        errors=[
            {"index": index, "filename": filename, "code": error.code, "detail": clean(str(error))}
            for index, filename, error in failures
        ],
    )
