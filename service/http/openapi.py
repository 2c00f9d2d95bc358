"""Answers to show in the documentation: a test provokes each, and compares."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from service.http.schemas import Problem
from service.problems import MEDIA_TYPE

_REQUEST_ID: Final = "7f1c0c8a4b6d4f0e9d4b1a2c3d4e5f60"

_TORN: Final = "The PNG picture is broken or cut short (image file is truncated)."
_NOT_READ: Final = "Not a picture that is read here: send JPEG, PNG, WebP, BMP, GIF or TIFF."


def _problem(status: HTTPStatus, code: str, detail: str, **members: Any) -> dict[str, Any]:
    return {
        "type": f"urn:facemask:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": _REQUEST_ID,
        **members,
    }


PROBLEMS: Final = (
    _problem(HTTPStatus.BAD_REQUEST, "empty_picture", "The file is empty."),
    _problem(
        HTTPStatus.BAD_REQUEST,
        "no_pictures",
        "The request holds no picture: send one or many in the field 'files'.",
    ),
    _problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "image_too_large",
        "8000 x 8000 pixels are more than the 50,000,000 allowed.",
    ),
    _problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_many_files",
        "A request may hold 64 pictures.",
    ),
    _problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "file_too_large",
        "The file is larger than the 33,554,432 bytes allowed.",
    ),
    _problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "image_too_costly",
        "A JPEG picture may have 100 scans.",
    ),
    _problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        "The request's body is larger than the 67,108,864 bytes allowed.",
    ),
    _problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_format", _NOT_READ),
    _problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "text/plain: send multipart/form-data with pictures in 'files', or one picture as an "
        "image/* body.",
    ),
    _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "undecodable_image", _TORN),
    _problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "nothing_readable",
        "None of the 2 pictures can be read.",
        errors=[
            {"index": 0, "filename": "torn.png", "code": "undecodable_image", "detail": _TORN},
            {"index": 1, "filename": "a.txt", "code": "unsupported_format", "detail": _NOT_READ},
        ],
    ),
    _problem(
        HTTPStatus.UNAUTHORIZED,
        "key_required",
        "Send your key as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.",
    ),
    _problem(HTTPStatus.UNAUTHORIZED, "key_refused", "That key is not known here."),
    _problem(
        HTTPStatus.REQUEST_TIMEOUT,
        "slow_request",
        "The request's body did not come within 20 s.",
    ),
    _problem(
        HTTPStatus.MISDIRECTED_REQUEST,
        "wrong_host",
        "The service does not answer to that Host.",
    ),
    _problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "overloaded",
        "256 pictures are waiting and 256 are allowed: come again.",
    ),
    _problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "header_too_large",
        "The request's line and headers may have 32,768 bytes.",
    ),
    _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "The service failed at this request; its log says why.",
    ),
    _problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "no_model",
        "No model is being served yet: GET /health says why.",
    ),
    _problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_connections",
        "1,100 connections are open: come again.",
    ),
    _problem(HTTPStatus.GATEWAY_TIMEOUT, "deadline_passed", "No answer within 30 s."),
)
"""One problem document for each way to fail that is worth showing."""


def with_examples(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Show in each response that is a problem what it may look like."""
    for problem in PROBLEMS:
        if problem["status"] not in responses:
            continue
        shown = responses[problem["status"]]["content"][MEDIA_TYPE].setdefault("examples", {})
        shown[problem["code"]] = {"value": problem}
    return responses


def add_problem_schema(app: FastAPI) -> None:
    """Put the schema of problems where responses refer to it; FastAPI sees only its own answers."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = (
            Problem.model_json_schema()
        )
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it
