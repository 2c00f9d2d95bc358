"""Parts of the OpenAPI document that FastAPI does not generate from the routes."""

from typing import Any, Final

from fastapi import FastAPI

from models.problems import MEDIA_TYPE

_PROBLEM: Final = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it; some codes have further members.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "string", "description": "For programs: see docs/studio.md."},
        "request_id": {"type": ["string", "null"]},
    },
}
_RESPONSE: Final = {
    "description": "A problem document.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
# FastAPI's own, for bodies and parameters that are invalid: here they are problems, too.
_UNUSED_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")


def complete_openapi(app: FastAPI) -> None:
    """Add problem documents to every operation, in place of FastAPI's validation errors.

    Args:
        app: Application whose `openapi` method is replaced, as FastAPI recommends.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in _UNUSED_SCHEMAS:
                schemas.pop(name, None)
            schemas["Problem"] = _PROBLEM
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    operation["responses"]["default"] = _RESPONSE
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]
