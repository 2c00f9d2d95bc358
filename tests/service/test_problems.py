"""The errors and the documents that callers see of them."""

import asyncio
import json
import logging
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import Response

import service.problems
from models.errors import (
    BundleError,
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
    STATUSES,
    NoModel,
    NothingReadable,
    Overloaded,
    ServiceError,
    all_failed,
    answer_error,
    status_of,
)
from tests.service.fixtures import bare_request


def leaves(kind: type[FacemaskError]) -> Iterator[type[FacemaskError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for child in below:
        yield from leaves(child)


def answered(error: Exception) -> Response:
    return asyncio.run(answer_error(bare_request(request_id="id-1"), error))


def document(response: Response) -> dict[str, object]:
    found = json.loads(bytes(response.body))
    assert isinstance(found, dict)
    return found


CALLERS = [*leaves(PictureError), *leaves(ServiceError)]


@pytest.mark.parametrize("kind", CALLERS)
def test_each_error_that_a_caller_can_meet_has_a_status(kind: type[FacemaskError]) -> None:
    assert kind in STATUSES
    assert status_of(kind("x")) >= HTTPStatus.BAD_REQUEST


def test_the_codes_are_distinct_and_the_tree_is_the_docstring() -> None:
    assert len({kind.code for kind in CALLERS}) == len(CALLERS)
    lines = (service.problems.__doc__ or "").splitlines()
    for kind in leaves(ServiceError):
        (line,) = [line for line in lines if f"── {kind.__name__} " in line]
        assert str(int(STATUSES[kind])) in line


def test_whatever_hangs_elsewhere_below_the_root_is_an_error_of_the_service() -> None:
    for kind in leaves(BundleError):
        assert status_of(kind("x")) == 500
    assert status_of(FacemaskError("x")) == 500


@pytest.mark.parametrize("kind", CALLERS)
def test_a_problem_has_all_its_members(kind: type[FacemaskError]) -> None:
    response = answered(kind("One sentence: ünïcode."))
    assert response.media_type == MEDIA_TYPE == "application/problem+json"
    assert response.headers["content-type"] == MEDIA_TYPE
    found = Problem.model_validate(document(response))
    assert found.type == f"urn:facemask:problem:{kind.code}"
    assert found.status == response.status_code == STATUSES[kind]
    assert found.title == HTTPStatus(response.status_code).phrase
    assert (found.code, found.detail) == (kind.code, "One sentence: ünïcode.")
    assert found.request_id == response.headers["x-request-id"] == "id-1"


def test_only_what_passes_says_when_to_come_again() -> None:
    assert answered(NoModel("x")).headers["retry-after"] == "5"
    assert answered(Overloaded("x")).headers["retry-after"] == "1"
    assert "retry-after" not in answered(EmptyPicture("x")).headers


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the password is 1234"),
        NoBundle("/a/path holds no model yet"),
        GoldenMismatch("/a/path is off"),
        FacemaskError("/a/path"),
    ],
)
def test_the_unexpected_is_a_bare_500_and_is_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    response = answered(error)
    found = document(response)
    assert response.status_code == found["status"] == 500
    assert found["code"] == "internal_error"
    assert set(found) == {"type", "title", "status", "detail", "code", "request_id"}
    assert str(error).encode() not in bytes(response.body)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_an_http_exception_keeps_its_headers() -> None:
    response = answered(HTTPException(405, headers={"Allow": "POST"}))
    assert response.headers["allow"] == "POST"
    assert document(response)["code"] == "method_not_allowed"
    assert response.status_code == 405


def test_a_problem_before_any_request_id_says_so() -> None:
    response = asyncio.run(answer_error(bare_request(), EmptyPicture("x")))
    assert "x-request-id" not in response.headers
    assert document(response)["request_id"] is None


def test_one_failure_is_itself_and_several_are_listed() -> None:
    torn, huge = UndecodableImage("torn"), ImageTooLarge("huge")
    assert all_failed([(0, "a.jpg", torn)]) is torn
    several = all_failed([(0, "a.jpg", torn), (1, None, huge)])
    assert isinstance(several, NothingReadable)
    found = document(answered(several))
    assert found["status"] == 422
    assert found["errors"] == [
        {"index": 0, "filename": "a.jpg", "code": "undecodable_image", "detail": "torn"},
        {"index": 1, "filename": None, "code": "image_too_large", "detail": "huge"},
    ]
