"""Parameters and body of POST /predict, for the OpenAPI document."""

from typing import Any, Final

from models.bundle.manifest import VERSION_PATTERN

VERSION_HEADER: Final = "X-Model-Version"
"""Header of an answer: the version of the model that gave it."""

MIN_VERSION_HEADER: Final = "X-Min-Model-Version"
"""Header of a request: the oldest version that may answer."""

EXPLAIN_QUERY: dict[str, Any] = {
    "name": "explain",
    "in": "query",
    "required": False,
    "description": "Return a class-activation map for each picture as well.",
    "schema": {"type": "boolean", "default": False},
}

FACES_QUERY: dict[str, Any] = {
    "name": "faces",
    "in": "query",
    "required": False,
    "description": "Find the faces of each picture, and classify each face.",
    "schema": {"type": "boolean", "default": False},
}

FRAMING_QUERY: dict[str, Any] = {
    "name": "framing",
    "in": "query",
    "required": False,
    "description": "`whole` classifies every picture whole. By default a model of pictures of one "
    "face each classifies the main face of a larger picture, if the whole is unfamiliar or "
    "uncertain.",
    "schema": {"enum": ["auto", "whole"], "default": "auto"},
}

THRESHOLD_QUERY: dict[str, Any] = {
    "name": "threshold",
    "in": "query",
    "required": False,
    "description": "Decide `uncertain` below this score; by default FACEMASK_THRESHOLD, or the "
    "model's threshold.",
    "schema": {"type": "number", "minimum": 0, "maximum": 1},
}

MIN_VERSION_PARAMETER: dict[str, Any] = {
    "name": MIN_VERSION_HEADER,
    "in": "header",
    "required": False,
    "description": "Refuse to answer with an older model than this version, which is the "
    f"{VERSION_HEADER} of an earlier answer: with several replicas behind a load balancer, no "
    "answer then comes from an older model than the one before.",
    "schema": {"type": "string", "pattern": VERSION_PATTERN},
}

_BINARY = {"type": "string", "format": "binary"}

# Swagger UI shows a file picker for `format: binary` only; for the schema that FastAPI generates
# from list[UploadFile] it shows text boxes (swagger-ui#10825).
UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "files": {
                        "type": "array",
                        "minItems": 1,
                        "items": _BINARY,
                        "description": "One picture or many; `file` is accepted as well.",
                    }
                },
                "required": ["files"],
            }
        },
        "image/jpeg": {"schema": _BINARY},
        "image/png": {"schema": _BINARY},
        "image/webp": {"schema": _BINARY},
        "image/heic": {"schema": _BINARY},
        "image/avif": {"schema": _BINARY},
        "image/bmp": {"schema": _BINARY},
        "image/gif": {"schema": _BINARY},
        "image/tiff": {"schema": _BINARY},
    },
}
