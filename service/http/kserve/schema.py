"""Header and body of an inference request, for the OpenAPI document."""

from typing import Any, Final

from service.http.kserve.tensors import OUTPUTS, PIXELS

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""Header that gives the length of a body's JSON part, in bytes."""


def _input(name: str, datatype: str, rank: int, item: dict[str, Any]) -> dict[str, Any]:
    sizes = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": {**sizes, "minItems": rank, "maxItems": rank},
            "data": {"type": "array", "minItems": 1, **item},
            "parameters": {"type": "object"},
        },
    }


_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                # Numbers in nested rows, or in one flat row. JSON cannot hold a picture's bytes.
                **_input(PIXELS, "UINT8", 4, {"items": {"type": ["integer", "array"]}})
            },
        },
        "outputs": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"enum": list(OUTPUTS)}, "parameters": {"type": "object"}},
            },
        },
        "parameters": {
            "type": "object",
            "properties": {
                "threshold": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "description": "Decide `uncertain` below this score.",
                },
                "framing": {
                    "enum": [None, "auto", "whole"],
                    "description": "`whole` classifies every picture whole.",
                },
            },
        },
    },
}

INFER_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _REQUEST,
        },
        "application/octet-stream": {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "The JSON part, and behind it the bytes of the tensor that has "
                "binary_data_size among its parameters in the place of data: encoded pictures "
                "(`image`, BYTES), or `pixels`.",
            }
        },
    },
}
"""The body of an inference request."""

INFER_HEADER: Final[dict[str, Any]] = {
    "name": HEADER_LENGTH,
    "in": "header",
    "required": False,
    "description": "Length of the body's JSON part, in bytes; without it all of it is JSON.",
    "schema": {"type": "integer", "minimum": 0},
}
"""The header of an inference request whose tensor travels in binary."""
