"""Tensors of the Open Inference Protocol, in JSON or behind it (the binary data extension).

BYTES, binary    each element as its length (uint32, little-endian) and its bytes
UINT8, binary    the values, row by row
FP32, binary     the values, little-endian
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from service.inference.decision import AnswerOptions
from service.limits.json_cost import MAX_JSON_BYTES, require_cheap_json
from service.problems import BadInference, BodyTooLarge, TooManyFiles

IMAGE: Final = "image"
PIXELS: Final = "pixels"
OUTPUTS: Final = ("probabilities", "label", "decision")
_TEXT_IS_NO_PICTURE: Final = (
    "BYTES in JSON are text and cannot hold a picture, and Base64 is not decoded: send the bytes "
    "behind the JSON, with the tensor's parameter 'binary_data_size' and the header "
    "Inference-Header-Content-Length; or send 'pixels', UINT8."
)


class _Part(BaseModel):
    # Extensions of the protocol are ignored; text is not converted to numbers.
    model_config = ConfigDict(extra="ignore", strict=True)

    parameters: dict[str, Any] = {}


class InputTensor(_Part):
    """One tensor of a request."""

    name: str
    shape: list[int] = Field(min_length=1, max_length=8)
    datatype: str
    data: list[Any] | None = None


class WantedOutput(_Part):
    """One output that the request names."""

    name: str


class InferRequest(_Part):
    """The JSON part of a request."""

    id: str | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] | None = None


@dataclass(frozen=True)
class OutputTensor:
    """One tensor of an answer: numbers or strings."""

    name: str
    shape: list[int]
    datatype: str
    data: Sequence[float] | Sequence[str]

    def encode(self) -> bytes:
        """Return the data in the encoding of the binary data extension."""
        if self.datatype == "FP32":
            return struct.pack(f"<{len(self.data)}f", *self.data)
        words = [str(item).encode() for item in self.data]
        return b"".join(struct.pack("<I", len(word)) + word for word in words)


def json_part_bytes(body_bytes: int, header_length: str | None) -> int:
    """Return the size of a body's JSON part.

    Args:
        body_bytes: Size of the whole body.
        header_length: Value of Inference-Header-Content-Length; without it the whole body is JSON.

    Raises:
        BadInference: The header is malformed, or exceeds the body.
        BodyTooLarge: The JSON part is larger than `MAX_JSON_BYTES`.
    """
    size = body_bytes
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdecimal() or len(header_length) > 20:
            raise BadInference("Inference-Header-Content-Length is not a number.")
        size = int(header_length)
    if size > body_bytes:
        raise BadInference("The body ends before its JSON part does.")
    if size > MAX_JSON_BYTES:
        raise BodyTooLarge(
            f"The JSON part is larger than {MAX_JSON_BYTES:,} bytes: send the tensor in binary."
        )
    return size


def split_body(
    body: bytes | memoryview, json_bytes: int
) -> tuple[InferRequest, bytes | memoryview]:
    """Split a body into its parsed JSON part and the binary part behind it.

    Args:
        body: The body of a request.
        json_bytes: Size of its JSON part.

    Raises:
        BadInference: The body violates the protocol.
        BodyTooLarge: The JSON part holds too many values.
    """
    text = bytes(body[:json_bytes])
    require_cheap_json(text)
    try:
        return InferRequest.model_validate(json.loads(text)), body[json_bytes:]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the request"
        raise BadInference(f"{ascii(where)[1:-1]}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise BadInference("The JSON part of the request is not valid JSON.") from error


def pictures_of(
    inference: InferRequest, rest: bytes | memoryview, *, size: int, max_files: int
) -> list[bytes | Tensor]:
    """Return the pictures of a request.

    Args:
        inference: The JSON part of the request.
        rest: The binary part behind it.
        size: Edge S of the model's input, in pixels.
        max_files: Max number of pictures.

    Returns:
        Encoded files from the tensor `image`, or uint8 (3, S, S) each from `pixels`.

    Raises:
        BadInference: The input is neither of these tensors, or its data do not fit its shape.
        TooManyFiles: The request holds more than `max_files` pictures.
    """
    (tensor,) = inference.inputs
    binary = _binary_part(tensor, rest)
    count = tensor.shape[0]
    if count < 1:
        raise BadInference("A request must hold at least one picture.")
    if count > max_files:
        raise TooManyFiles(f"A request may hold {max_files} pictures.")
    kind = (tensor.name, tensor.datatype)
    if kind == (IMAGE, "BYTES") and tensor.shape[1:] in ([], [1]):
        if binary is None:
            raise BadInference(_TEXT_IS_NO_PICTURE)
        files = _split_elements(binary, count)
        if len(files) != count:
            raise BadInference(f"The shape announces {count} pictures; the data hold {len(files)}.")
        return list(files)
    if kind == (PIXELS, "UINT8") and tensor.shape[1:] == [3, size, size]:
        values = _numbers_tensor(tensor.data) if binary is None else _bytes_tensor(binary)
        if values.numel() != count * 3 * size * size:
            raise BadInference(f"The shape {tensor.shape} does not fit {values.numel()} values.")
        return list(values.view(tensor.shape))
    raise BadInference(
        f"Send '{IMAGE}', BYTES [N], with one encoded picture each, or '{PIXELS}', "
        f"UINT8 [N, 3, {size}, {size}]."
    )


def requested_options(inference: InferRequest) -> AnswerOptions:
    """Return what a request's parameters `threshold` and `framing` choose.

    Raises:
        BadInference: The threshold is not a number from 0 to 1, or the framing not auto or whole.
    """
    threshold = inference.parameters.get("threshold")
    if threshold is not None and (type(threshold) not in (int, float) or not 0 <= threshold <= 1):
        raise BadInference("The parameter threshold must be a number from 0 to 1.")
    framing = inference.parameters.get("framing")
    if framing not in (None, "auto", "whole"):
        raise BadInference("The parameter framing must be auto or whole.")
    return AnswerOptions(threshold=threshold, whole=framing == "whole")


def encode_answer(
    head: dict[str, Any], outputs: Sequence[OutputTensor], inference: InferRequest
) -> tuple[bytes, int | None]:
    """Return the answer's body, and the size of its JSON part if a binary part follows.

    Raises:
        BadInference: The request names an output that does not exist.
    """
    binary_by_default = inference.parameters.get("binary_data_output") is True
    wanted = {output.name: output.parameters for output in inference.outputs or []}
    unknown = sorted(set(wanted) - {output.name for output in outputs})
    if unknown:
        raise BadInference(f"Unknown output {unknown[0]!r}: there are {', '.join(OUTPUTS)}.")
    binary_parts, described = [], []
    for output in outputs:
        if wanted and output.name not in wanted:
            continue
        entry: dict[str, Any] = {
            "name": output.name,
            "shape": output.shape,
            "datatype": output.datatype,
        }
        if wanted.get(output.name, {}).get("binary_data", binary_by_default) is True:
            binary_parts.append(output.encode())
            entry["parameters"] = {"binary_data_size": len(binary_parts[-1])}
        else:
            entry["data"] = list(output.data)
        described.append(entry)
    text = json.dumps({**head, "outputs": described}).encode()
    return (b"".join([text, *binary_parts]), len(text)) if binary_parts else (text, None)


def _binary_part(tensor: InputTensor, rest: bytes | memoryview) -> bytes | memoryview | None:
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None or rest:
            raise BadInference("An input has either 'data', or 'binary_data_size' and its bytes.")
        return None
    if tensor.data is not None or type(size) is not int or size != len(rest):
        raise BadInference(f"binary_data_size is {size!r}; {len(rest)} bytes follow the JSON part.")
    return rest


def _split_elements(data: bytes | memoryview, count: int) -> list[bytes]:
    elements: list[bytes] = []
    start = 0
    while start < len(data):
        if len(elements) == count:
            raise BadInference(f"The shape announces {count} pictures; the data hold more.")
        if start + 4 > len(data):
            raise BadInference("The BYTES tensor ends within an element.")
        (length,) = struct.unpack_from("<I", data, start)
        start += 4
        if start + length > len(data):
            raise BadInference("The BYTES tensor ends within an element.")
        elements.append(bytes(data[start : start + length]))
        start += length
    return elements


def _numbers_tensor(data: list[Any] | None) -> Tensor:
    try:
        _, values = _flatten(data or [])
    except (ValueError, RecursionError) as error:
        raise BadInference(
            "The data of a UINT8 tensor must be whole numbers from 0 to 255, row by row."
        ) from error
    return _bytes_tensor(values)


def _flatten(data: list[Any]) -> tuple[tuple[int, ...], bytes]:
    """Return the shape of nested rows, and their values.

    Ten times as fast as torch.tensor(), which holds the interpreter's lock for 30 ms.

    Raises:
        ValueError: The rows differ in shape, or hold anything but whole numbers from 0 to 255.
    """
    kinds = set(map(type, data))
    if kinds == {list}:
        shapes, rows = zip(*map(_flatten, data), strict=True)
        if len(set(shapes)) > 1:
            raise ValueError("the rows differ in shape")
        return (len(data), *shapes[0]), b"".join(rows)
    if kinds != {int}:
        raise ValueError("not whole numbers")
    return (len(data),), bytes(data)


def _bytes_tensor(data: bytes | memoryview) -> Tensor:
    if not data:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
