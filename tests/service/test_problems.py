"""Errors and the problem documents that callers see."""

import asyncio
import json
import logging
from http import HTTPStatus

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.errors import (
    EmptyPicture,
    FacemaskError,
    GoldenMismatch,
    ImageTooLarge,
    NoBundle,
    PictureError,
    UndecodableImage,
)
from service.http.schemas import Problem
from service.problems import (
    MEDIA_TYPE,
    BadRequest,
    NoModel,
    NothingReadable,
    Overloaded,
    ServiceError,
    Stopping,
    answer_error,
    caller_errors,
    meaning_of,
    none_readable,
)
from tests.service.fixtures import bare_request


def answer(error: Exception) -> Response:
    return asyncio.run(answer_error(bare_request(request_id="id-1"), error))


def document(response: Response) -> dict[str, object]:
    found = json.loads(bytes(response.body))
    assert isinstance(found, dict)
    return found


CALLER_ERRORS = caller_errors()


def test_caller_errors_have_distinct_codes_and_a_status() -> None:
    assert len({kind.code for kind in CALLER_ERRORS}) == len(CALLER_ERRORS)
    assert {EmptyPicture, NoModel} <= set(CALLER_ERRORS)
    for kind in CALLER_ERRORS:
        assert issubclass(kind, PictureError | ServiceError)
        assert 400 <= kind.status < 600
        assert meaning_of(kind).endswith(".")
    statuses = [kind.status for kind in CALLER_ERRORS]
    assert statuses == sorted(statuses)


def test_service_error_detail_is_its_example_by_default() -> None:
    assert str(Stopping()) == Stopping.example
    assert str(Stopping("Now.")) == "Now."
    assert str(BadRequest()) == "The request is not valid HTTP."


@pytest.mark.parametrize("kind", CALLER_ERRORS)
def test_problem_document_has_all_members(kind: type[FacemaskError]) -> None:
    response = answer(kind("One sentence: ünïcode."))
    assert response.media_type == MEDIA_TYPE == "application/problem+json"
    assert response.headers["content-type"] == MEDIA_TYPE
    found = Problem.model_validate(document(response))
    assert found.type == f"urn:facemask:problem:{kind.code}"
    assert found.status == response.status_code == kind.status
    assert found.title == HTTPStatus(response.status_code).phrase
    assert (found.code, found.detail) == (kind.code, "One sentence: ünïcode.")
    assert found.request_id == response.headers["x-request-id"] == "id-1"


def test_retry_after_is_sent_for_temporary_errors_only() -> None:
    assert answer(NoModel("x")).headers["retry-after"] == "5"
    assert answer(Overloaded("x")).headers["retry-after"] == "1"
    assert "retry-after" not in answer(EmptyPicture("x")).headers


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the password is 1234"),
        NoBundle("/a/path holds no model yet"),
        GoldenMismatch("/a/path is off"),
        FacemaskError("/a/path"),
    ],
)
def test_unexpected_error_is_logged_and_answered_with_a_bare_500(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    response = answer(error)
    found = document(response)
    assert response.status_code == found["status"] == 500
    assert found["code"] == "internal_error"
    assert set(found) == {"type", "title", "status", "detail", "code", "request_id"}
    assert str(error).encode() not in bytes(response.body)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_http_exception_keeps_its_headers() -> None:
    response = answer(HTTPException(405, headers={"Allow": "POST"}))
    assert response.headers["allow"] == "POST"
    assert document(response)["code"] == "method_not_allowed"
    assert response.status_code == 405


def test_request_id_is_null_if_there_is_none() -> None:
    response = asyncio.run(answer_error(bare_request(), EmptyPicture("x")))
    assert "x-request-id" not in response.headers
    assert document(response)["request_id"] is None


def test_none_readable_returns_one_failure_or_lists_several() -> None:
    torn, huge = UndecodableImage("torn"), ImageTooLarge("huge")
    assert none_readable([(0, "a.jpg", torn)]) is torn
    several = none_readable([(0, "a.jpg", torn), (1, None, huge)])
    assert isinstance(several, NothingReadable)
    found = document(answer(several))
    assert found["status"] == 422
    assert found["errors"] == [
        {"index": 0, "filename": "a.jpg", "code": "undecodable_image", "detail": "torn"},
        {"index": 1, "filename": None, "code": "image_too_large", "detail": "huge"},
    ]
