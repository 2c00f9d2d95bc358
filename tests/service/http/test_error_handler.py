"""Problem documents that the exception handler answers."""

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
    NoBundle,
)
from models.problems import MEDIA_TYPE
from service.http.error_handler import answer_error
from service.http.openapi.schemas import Problem
from service.problems import NoModel, NothingReadable, Overloaded, caller_errors
from tests.service.fixtures import bare_request


def answer(error: Exception) -> Response:
    return asyncio.run(answer_error(bare_request(request_id="id-1"), error))


def document(response: Response) -> dict[str, object]:
    found = json.loads(bytes(response.body))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", caller_errors())
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


def test_members_of_an_error_stand_in_the_document() -> None:
    response = answer(NothingReadable("None.", errors=[{"index": 0}]))
    assert document(response)["errors"] == [{"index": 0}]
