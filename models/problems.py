"""Errors as callers over HTTP see them: RFC 9457 problem documents with a stable code.

A class holds all facts about its error: code, status, example and meaning (the first line of its
docstring). The documentation is generated from it. The service and the studio have their own.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

from models.errors import FacemaskError
from models.text import clean

MEDIA_TYPE: Final = "application/problem+json"


class HttpError(FacemaskError):
    """A request over HTTP cannot be answered.

    Attributes:
        headers: HTTP headers of the answer.
        example_members: Further members of the example's problem document.
    """

    headers: ClassVar[Mapping[str, str]] = {}
    example_members: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        """Create an error.

        Args:
            detail: One sentence for the caller; the class's example by default.
            members: Further members of the problem document.
        """
        super().__init__(detail or self.example or meaning_of(type(self)))
        self.members = members


def meaning_of(kind: type[FacemaskError]) -> str:
    """Return the meaning of an error: the first line of its docstring."""
    return (kind.__doc__ or "").partition("\n")[0]


def leaves_of(*families: type[FacemaskError]) -> list[type[FacemaskError]]:
    """Return the classes of some families that have no subclass, ordered by status and code."""
    kinds = [leaf for family in families for leaf in _leaves(family)]
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def _leaves(kind: type[FacemaskError]) -> Iterator[type[FacemaskError]]:
    children = kind.__subclasses__()
    if not children:
        yield kind
    for child in children:
        yield from _leaves(child)


def problem_document(
    status: int, code: str, detail: str, request_id: str | None, **members: Any
) -> dict[str, Any]:
    """Return the members of a problem document."""
    return {
        "type": f"urn:facemask:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": clean(detail),
        "code": code,
        "request_id": request_id,
        **members,
    }
