"""The Open Inference Protocol, version 2, over REST: for Triton's and KServe's clients."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from torch import Tensor

from models.errors import PictureError
from service.http.api_keys import KEYED
from service.http.health import require_ready
from service.http.kserve_schema import HEADER_LENGTH, INFER_BODY, INFER_HEADER
from service.http.kserve_tensors import (
    IMAGE,
    PIXELS,
    OutputTensor,
    answer_body,
    parsed_bytes,
    pictures_of,
    split_body,
)
from service.http.schemas import problem_response
from service.http.state import State, waiting_pixels
from service.http.uploads import bounded_body
from service.inference.batcher import BatcherClosed, TooLate
from service.inference.decision import decide, is_familiar
from service.inference.engine import Answer, Engine
from service.problems import DeadlinePassed, Stopping, UnknownModel, UnsupportedMedia

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

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
_OF_MODEL: Final = {"parameters": [_MODEL]}
_OF_VERSION: Final = {"parameters": [_MODEL, _VERSION]}
_JSON: Final[dict[str, Any]] = {"content": {"application/json": {"schema": {"type": "object"}}}}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: problem_response("No such model or version is being served.")
}
_INFER_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The tensors asked for; in binary if that was asked for.",
        "content": {**_JSON["content"], "application/octet-stream": {}},
    },
    400: problem_response("The request is not as the protocol has it, or a picture is empty."),
    **_UNKNOWN,
    408: problem_response("The request's body takes too long to come."),
    413: problem_response("The body, a picture or their number is over its limit."),
    415: problem_response("A picture of a format that is not read, or a compressed body."),
    422: problem_response("A picture cannot be read."),
    429: problem_response("As many pictures or bytes wait as are allowed; see Retry-After."),
    431: problem_response("The request's line and headers are larger than allowed."),
    500: problem_response("The service failed; its log says why."),
    503: problem_response("No model is being served yet, or the service is stopping."),
    504: problem_response("No answer within the time allowed."),
}


@router.get("/health/live", responses={200: _JSON, 503: problem_response("It is not.")})
async def live(request: Request) -> Response:
    """Whether the process is worth keeping."""
    state: State = request.app.state.facemask
    state.heart.require()
    return JSONResponse({"live": True})


@router.get("/health/ready", responses={200: _JSON, 503: problem_response("It is not.")})
async def ready(request: Request) -> Response:
    """Whether to send pictures here."""
    require_ready(request.app.state.facemask)
    return JSONResponse({"ready": True})


@router.get("", responses={200: _JSON})
async def server(request: Request) -> Response:
    """What the server is."""
    return JSONResponse(
        {"name": NAME, "version": request.app.version, "extensions": ["binary_tensor_data"]}
    )


_DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {
    200: _JSON,
    **_UNKNOWN,
    503: problem_response("No model is being served yet."),
}


@router.get("/models/{model}", responses=_DESCRIBED, openapi_extra=_OF_MODEL)
@router.get("/models/{model}/versions/{version}", responses=_DESCRIBED, openapi_extra=_OF_VERSION)
async def model(request: Request) -> Response:
    """What the model takes and gives: one of the inputs, `image` or `pixels`."""
    state: State = request.app.state.facemask
    with state.live.use() as engine:
        _check(request, engine)
        size, count = engine.manifest.input_px, len(engine.labels)
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
                    {"name": "probabilities", "datatype": "FP32", "shape": [-1, count]},
                    {"name": "label", "datatype": "BYTES", "shape": [-1]},
                    {"name": "decision", "datatype": "BYTES", "shape": [-1]},
                ],
                "parameters": {"labels": list(engine.labels)},
            }
        )


@router.get("/models/{model}/ready", responses=_DESCRIBED, openapi_extra=_OF_MODEL)
@router.get(
    "/models/{model}/versions/{version}/ready", responses=_DESCRIBED, openapi_extra=_OF_VERSION
)
async def model_ready(request: Request) -> Response:
    """Whether to send this model pictures."""
    state: State = request.app.state.facemask
    require_ready(state)
    with state.live.use() as engine:
        _check(request, engine)
    return JSONResponse({"name": NAME, "ready": True})


@router.post(
    "/models/{model}/infer",
    responses=_INFER_RESPONSES,
    openapi_extra={"parameters": [_MODEL, INFER_HEADER], "requestBody": INFER_BODY},
    dependencies=[KEYED],
)
@router.post(
    "/models/{model}/versions/{version}/infer",
    responses=_INFER_RESPONSES,
    openapi_extra={"parameters": [_MODEL, _VERSION, INFER_HEADER], "requestBody": INFER_BODY},
    dependencies=[KEYED],
)
async def infer(request: Request) -> Response:
    """Answer encoded pictures, or pixels; a picture that cannot be read fails the request."""
    state: State = request.app.state.facemask
    settings = state.settings
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("Send the body as it is: compressed ones are not read.")
    deadline = time.monotonic() + settings.deadline_s
    try:
        async with asyncio.timeout(settings.deadline_s):
            with state.live.use() as engine, state.bodies.hold() as take:
                _check(request, engine)
                state.admission.refuse_if_full()  # before the body is read
                body = bytearray()
                async for chunk in bounded_body(
                    request, settings.max_body_bytes, settings.body_s, take
                ):
                    body += chunk
                size, length = engine.manifest.input_px, request.headers.get(HEADER_LENGTH)
                take(parsed_bytes(len(body), length))

                def parse() -> tuple[Any, list[bytes | Tensor]]:
                    asked, rest = split_body(memoryview(body), length)
                    return asked, pictures_of(asked, rest, size=size, max_files=settings.max_files)

                asked, pictures = await asyncio.to_thread(
                    parse
                )  # off the loop: there may be megabytes
                request.state.pictures = len(pictures)
                pixels = waiting_pixels(pictures, settings.max_pixels)
                with state.admission.enter(len(pictures), pixels):
                    answers = _answers(await engine.predict(pictures, deadline=deadline))
    except (TimeoutError, TooLate) as error:
        raise DeadlinePassed(f"No answer within {settings.deadline_s:g} s.") from error
    except BatcherClosed as error:
        raise Stopping("The service is stopping: come again.") from error
    labels, threshold = engine.labels, engine.manifest.decision.threshold
    decided = [decide(labels, threshold, answer.probabilities) for answer in answers]
    known = engine.manifest.familiarity
    state.metrics.answered(
        found._asdict()
        | {"familiar": is_familiar(known, answer.distance), "distance": answer.distance}
        for found, answer in zip(decided, answers, strict=True)
    )
    count, flat = len(answers), [chance for answer in answers for chance in answer.probabilities]
    outputs = [
        OutputTensor("probabilities", [count, len(labels)], "FP32", flat),
        OutputTensor("label", [count], "BYTES", [found.label for found in decided]),
        OutputTensor("decision", [count], "BYTES", [found.decision for found in decided]),
    ]
    head = {"model_name": NAME, "model_version": engine.manifest.version}
    if asked.id is not None:
        head["id"] = asked.id
    text, json_length = answer_body(head, outputs, asked)
    if json_length is None:
        return Response(text, media_type="application/json")
    return Response(
        text,
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(json_length)},
    )


def _check(request: Request, engine: Engine) -> None:
    """Pass if the path names what is being served.

    Raises:
        UnknownModel: It names another model or version.
    """
    name, version = request.path_params["model"], request.path_params.get("version")
    if name != NAME or version not in (None, engine.manifest.version):
        raise UnknownModel(f"Only {NAME}, version {engine.manifest.version}, is being served.")


def _answers(outcomes: Sequence[Answer | PictureError]) -> list[Answer]:
    """Each picture's answer.

    Raises:
        PictureError: Of the first that cannot be read.
    """
    answers = []
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, PictureError):
            raise type(outcome)(f"Picture {place}: {outcome}") from outcome
        answers.append(outcome)
    return answers
