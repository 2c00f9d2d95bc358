"""Hooks for Schemathesis: real images, and inference bodies whose parts agree.

An OpenAPI document can express neither. Schemathesis imports this module by name. Requests that it
generates to be refused stay as they are, but for boolean queries: the service also takes `1`,
`yes`, `TRUE` and the bare name, as other clients write them.
"""

from typing import Any, Final, cast

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, GenerationMode, HookContext
from schemathesis.transport.serialization import Binary

from benchmarks.process import binary_request
from service.http.kserve.schema import HEADER_LENGTH
from service.http.openapi.parameters import EXPLAIN_QUERY, FACES_QUERY, MIN_VERSION_HEADER
from tests.service.fixtures import SIZE_PX, encoded

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_MODES: Final = ("RGB", "L")
_BOOLEAN_QUERIES: Final = {EXPLAIN_QUERY["name"], FACES_QUERY["name"]}
_EDGES: Final = (1, 7, SIZE_PX, 90)


def _pictures(format: str) -> list[bytes]:
    return [
        encoded(Image.linear_gradient("L").resize((edge, 2 * edge)).convert(mode), format)
        for mode in _MODES
        for edge in _EDGES
    ]


_BY_FORMAT: Final = {format: _pictures(format) for format in _FORMATS}
_ALL: Final = [picture for pictures in _BY_FORMAT.values() for picture in pictures]

schemathesis.openapi.format("binary", st.sampled_from(_ALL).map(Binary))
for _format, _made in _BY_FORMAT.items():
    schemathesis.openapi.media_type(f"image/{_format.lower()}", st.sampled_from(_made))


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Make the parts of an inference request agree, which JSON Schema cannot require.

    Of the requests that are to be refused, only the boolean queries are changed.
    """
    case.headers.pop(MIN_VERSION_HEADER, None)  # 503 for a version newer than the model in service
    if case.meta is None:
        return
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        _make_no_boolean(case.query)
        return
    if not case.path.endswith("/infer"):
        return
    case.headers.pop(HEADER_LENGTH, None)
    if case.media_type == "application/json":
        assert isinstance(case.body, dict)
        (tensor,) = cast("list[dict[str, Any]]", case.body["inputs"])
        case.body = {**case.body, "inputs": [_make_consistent(tensor)]}
    else:
        picture = _ALL[len(repr(case.body)) % len(_ALL)]
        head, tensor_bytes = binary_request([picture])
        case.headers[HEADER_LENGTH] = str(len(head))
        case.body = head + tensor_bytes


def _make_no_boolean(query: dict[str, Any]) -> None:
    """Replace values that the document does not name, but that the service reads as a boolean."""
    for name in _BOOLEAN_QUERIES & query.keys():
        if str(query[name]).lower() not in ("true", "false"):
            query[name] = "neither"


def _make_consistent(tensor: dict[str, Any]) -> dict[str, Any]:
    """Return a valid tensor with as many images as it has data, at most 4."""
    count = min(len(tensor["data"]), 4)
    shape = [count, 3, SIZE_PX, SIZE_PX]
    return {**tensor, "shape": shape, "data": [7] * (count * 3 * SIZE_PX**2)}
