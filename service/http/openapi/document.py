"""Parts of the OpenAPI document that FastAPI does not generate from the routes."""

from typing import Any, Final

from fastapi import FastAPI

from models.errors import FacemaskError, PictureError
from models.problems import MEDIA_TYPE, meaning_of, problem_document
from service.http.middleware import PROBE_PATHS
from service.http.openapi.schemas import Problem
from service.problems import (
    BadUpload,
    BodyTooLarge,
    DeadlinePassed,
    HeaderTooLarge,
    InternalError,
    ModelBehind,
    NoModel,
    Overloaded,
    SlowRequest,
    Stopping,
    TooManyConnections,
    TooManyFiles,
    UnsupportedMedia,
    WrongHost,
)

INFERENCE_ERRORS: Final = (
    *PictureError.__subclasses__(),
    BadUpload,
    SlowRequest,
    BodyTooLarge,
    TooManyFiles,
    UnsupportedMedia,
    Overloaded,
    HeaderTooLarge,
    InternalError,
    NoModel,
    ModelBehind,
    Stopping,
    TooManyConnections,
    DeadlinePassed,
)
"""Errors of every operation that classifies pictures."""

_REQUEST_ID: Final = "7f1c0c8a4b6d4f0e9d4b1a2c3d4e5f60"


def problem_responses(
    *errors: type[FacemaskError], examples: bool = True
) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation that raises these errors, by status.

    Args:
        errors: Classes of errors, with descriptions and examples.
        examples: Show an example of each problem document that has one.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({error.status for error in errors}):
        kinds = [error for error in errors if error.status == status]
        # A `model` would document application/json as well.
        content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
        shown = {kind.code: {"value": example_of(kind)} for kind in kinds if kind.example}
        if examples and shown:
            content["examples"] = shown
        responses[status] = {
            "description": " ".join(meaning_of(kind) for kind in kinds),
            "content": {MEDIA_TYPE: content},
        }
    return responses


def example_of(error: type[FacemaskError]) -> dict[str, Any]:
    """Return the problem document of an error's example."""
    members = getattr(error, "example_members", {})
    detail = error.example or meaning_of(error)
    return problem_document(error.status, error.code, detail, _REQUEST_ID, **members)


def complete_openapi(app: FastAPI, *, checks_host: bool) -> None:
    """Add the schema of problems, and the check of the Host header, to the OpenAPI document.

    Args:
        app: Application whose `openapi` method is replaced, as FastAPI recommends.
        checks_host: Document that all operations except probes refuse unknown Host headers.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            for path, operations in document["paths"].items():
                if checks_host and path not in PROBE_PATHS:
                    for operation in operations.values():
                        operation["responses"]["421"] = problem_responses(WrongHost)[421]
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]
