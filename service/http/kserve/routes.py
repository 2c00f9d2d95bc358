"""Routes of the Open Inference Protocol: health, metadata and inference."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from torch import Tensor

from models.errors import PictureError
from service.http.health import require_ready
from service.http.kserve.schema import HEADER_LENGTH, INFER_BODY, INFER_HEADER
from service.http.kserve.tensors import (
    IMAGE,
    PIXELS,
    InferRequest,
    OutputTensor,
    encode_answer,
    json_part_bytes,
    pictures_of,
    requested_options,
    split_body,
)
from service.http.model_version import require_min_version, version_header
from service.http.openapi.document import INFERENCE_ERRORS, problem_responses
from service.http.openapi.parameters import MIN_VERSION_PARAMETER
from service.http.uploads import read_body, require_plain_body
from service.inference.decision import SCORE_DIGITS, Prediction
from service.inference.engine import Engine
from service.inference.session import Session, record_outcomes
from service.inference.state import State
from service.limits.json_cost import parsing_bytes, parsing_turn
from service.problems import BadInference, NoModel, Stopping, Stuck, UnknownModel

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
keyed_router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

NAME: Final = "facemask"

_VERSION: Final = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
_MODEL: Final = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "enum": [NAME]},
}
_MODEL_PATH: Final = {"parameters": [_MODEL]}
_VERSION_PATH: Final = {"parameters": [_MODEL, _VERSION]}
_JSON_RESPONSE: Final[dict[str, Any]] = {
    "content": {"application/json": {"schema": {"type": "object"}}}
}
_INFER_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The requested tensors, in binary if requested so.",
        "content": {**_JSON_RESPONSE["content"], "application/octet-stream": {}},
    },
    **problem_responses(*INFERENCE_ERRORS, BadInference, UnknownModel, examples=False),
}
_PROBE_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: _JSON_RESPONSE,
    **problem_responses(NoModel, Stopping, Stuck, examples=False),
}
_MODEL_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: _JSON_RESPONSE,
    **problem_responses(UnknownModel, NoModel, Stopping, Stuck, examples=False),
}


@router.get("/health/live", responses=_PROBE_RESPONSES)
async def live(request: Request) -> Response:
    """Return 200 while the process is alive: a liveness probe."""
    state: State = request.app.state.facemask
    state.watchdog.raise_if_stuck()
    return JSONResponse({"live": True})


@router.get("/health/ready", responses=_PROBE_RESPONSES)
async def ready(request: Request) -> Response:
    """Return 200 while the service can answer pictures: a readiness probe."""
    require_ready(request.app.state.facemask)
    return JSONResponse({"ready": True})


@router.get("", responses={200: _JSON_RESPONSE})
async def server(request: Request) -> Response:
    """Return the server's name, version and extensions of the protocol."""
    return JSONResponse(
        {"name": NAME, "version": request.app.version, "extensions": ["binary_tensor_data"]}
    )


@router.get("/models/{model}", responses=_MODEL_RESPONSES, openapi_extra=_MODEL_PATH)
@router.get(
    "/models/{model}/versions/{version}", responses=_MODEL_RESPONSES, openapi_extra=_VERSION_PATH
)
async def model(request: Request) -> Response:
    """Return the model's inputs and outputs; a request has one of the inputs."""
    state: State = request.app.state.facemask
    with state.model_manager.lease() as engine:
        _require_served(request, engine)
        size, num_classes = engine.manifest.input_px, len(engine.labels)
        return JSONResponse(
            {
                "name": NAME,
                "versions": [engine.manifest.version],
                "platform": "pytorch_torchscript",
                "inputs": [
                    {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
                    {"name": PIXELS, "datatype": "UINT8", "shape": [-1, 3, size, size]},
                ],
                "outputs": [
                    {"name": "probabilities", "datatype": "FP32", "shape": [-1, num_classes]},
                    {"name": "label", "datatype": "BYTES", "shape": [-1]},
                    {"name": "decision", "datatype": "BYTES", "shape": [-1]},
                ],
                "parameters": {"labels": list(engine.labels)},
            }
        )


@router.get("/models/{model}/ready", responses=_MODEL_RESPONSES, openapi_extra=_MODEL_PATH)
@router.get(
    "/models/{model}/versions/{version}/ready",
    responses=_MODEL_RESPONSES,
    openapi_extra=_VERSION_PATH,
)
async def model_ready(request: Request) -> Response:
    """Return 200 while this model can answer pictures."""
    state: State = request.app.state.facemask
    require_ready(state)
    with state.model_manager.lease() as engine:
        _require_served(request, engine)
    return JSONResponse({"name": NAME, "ready": True})


@keyed_router.post(
    "/models/{model}/infer",
    responses=_INFER_RESPONSES,
    openapi_extra={
        "parameters": [_MODEL, INFER_HEADER, MIN_VERSION_PARAMETER],
        "requestBody": INFER_BODY,
    },
)
@keyed_router.post(
    "/models/{model}/versions/{version}/infer",
    responses=_INFER_RESPONSES,
    openapi_extra={
        "parameters": [_MODEL, _VERSION, INFER_HEADER, MIN_VERSION_PARAMETER],
        "requestBody": INFER_BODY,
    },
)
async def infer(request: Request) -> Response:
    """Classify encoded pictures or pixels; a picture that cannot be read fails the request."""
    state: State = request.app.state.facemask
    require_plain_body(request)
    async with state.open_session() as session:
        _require_served(request, session.engine)
        require_min_version(request, session.engine)
        inference, pictures = await _read_inference(request, session)
        request.state.pictures = len(pictures)
        options = requested_options(inference)
        predictions = _require_readable(await session.predict(pictures, options))
    record_outcomes(state.metrics, predictions)
    manifest, count = session.engine.manifest, len(predictions)
    probabilities = [value for found in predictions for value in found.scores.values()]
    outputs = [
        OutputTensor("probabilities", [count, len(manifest.labels)], "FP32", probabilities),
        OutputTensor("label", [count], "BYTES", [found.label for found in predictions]),
        OutputTensor("decision", [count], "BYTES", [found.decision for found in predictions]),
    ]
    head: dict[str, Any] = {
        "model_name": NAME,
        "model_version": manifest.version,
        "parameters": {"threshold": round(session.engine.threshold_for(options), SCORE_DIGITS)},
    }
    if inference.id is not None:
        head["id"] = inference.id
    body, json_bytes = encode_answer(head, outputs, inference)
    if json_bytes is None:
        return Response(body, media_type="application/json", headers=version_header(session.engine))
    return Response(
        body,
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(json_bytes), **version_header(session.engine)},
    )


async def _read_inference(
    request: Request, session: Session
) -> tuple[InferRequest, list[bytes | Tensor]]:
    """Read and parse a request's body: its JSON part, and its pictures."""
    settings = request.app.state.facemask.settings
    body = bytearray()
    async for chunk in read_body(
        request,
        session.body_bytes,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.body_s,
    ):
        body += chunk
    json_bytes = json_part_bytes(len(body), request.headers.get(HEADER_LENGTH))
    session.body_bytes.add(parsing_bytes(len(body), json_bytes))
    size = session.engine.manifest.input_px

    def parse() -> tuple[InferRequest, list[bytes | Tensor]]:
        with parsing_turn():
            inference, rest = split_body(memoryview(body), json_bytes)
            return inference, pictures_of(inference, rest, size=size, max_files=settings.max_files)

    return await asyncio.to_thread(parse)  # not on the event loop: a body may have megabytes


def _require_served(request: Request, engine: Engine) -> None:
    """Raise unless the path names the model and version being served.

    Raises:
        UnknownModel: The path names another model or version.
    """
    name, version = request.path_params["model"], request.path_params.get("version")
    if name != NAME or version not in (None, engine.manifest.version):
        raise UnknownModel(f"Only {NAME}, version {engine.manifest.version}, is being served.")


def _require_readable(outcomes: Sequence[Prediction | PictureError]) -> list[Prediction]:
    """Return the predictions; raise unless every picture could be read.

    Raises:
        PictureError: The first picture's error, with its index.
    """
    predictions = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, PictureError):
            raise type(outcome)(f"Picture {index}: {outcome}") from outcome
        predictions.append(outcome)
    return predictions
