"""Errors that callers see."""

from models.errors import (
    EmptyPicture,
    ImageTooLarge,
    PictureError,
    UndecodableImage,
)
from models.problems import meaning_of, problem_document
from service.problems import (
    BadRequest,
    NoModel,
    NothingReadable,
    ServiceError,
    Stopping,
    caller_errors,
    none_readable,
)

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


def test_none_readable_returns_one_failure_or_lists_several() -> None:
    torn, huge = UndecodableImage("torn"), ImageTooLarge("huge")
    assert none_readable([(0, "a.jpg", torn)]) is torn
    several = none_readable([(0, "a.jpg", torn), (1, None, huge)])
    assert isinstance(several, NothingReadable)
    assert several.members["errors"] == [
        {"index": 0, "filename": "a.jpg", "code": "undecodable_image", "detail": "torn"},
        {"index": 1, "filename": None, "code": "image_too_large", "detail": "huge"},
    ]


def test_problem_document_cleans_its_detail() -> None:
    assert problem_document(400, "x", "a\nb\x1b", None)["detail"] == "a\ufffdb\ufffd"
