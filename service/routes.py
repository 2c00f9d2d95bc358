"""The endpoints: POST /predict and GET /health."""

import asyncio
import json
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from torch import Tensor

from models.errors import FacemaskError, PictureError
from models.image import decode_image
from service.batcher import BatcherClosed
from service.engine import Engine
from service.problems import MEDIA_TYPE, DeadlinePassed, Stopping, all_failed
from service.schemas import (
    PREDICT_EXAMPLE,
    UPLOAD_BODY,
    HealthAnswer,
    PredictAnswer,
    Problem,
)
from service.state import State
from service.uploads import Upload, read_uploads

router = APIRouter()

UNCERTAIN = "uncertain"

_Outcome = Tensor | PictureError


def _problem(text: str) -> dict[str, Any]:
    # `model` would announce application/json beside it.
    return {"description": text, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}


_PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": PredictAnswer,
        "description": "One entry a picture, in upload order.",
        "content": {"application/json": {"example": PREDICT_EXAMPLE}},
    },
    400: _problem("No picture in the request, an empty one, or a broken multipart body."),
    413: _problem("The body, the picture or the number of pictures is over its limit."),
    415: _problem("Neither multipart nor a picture of a format that is read."),
    422: _problem("No picture of the request can be read."),
    429: _problem("As many pictures are waiting as are allowed; see Retry-After."),
    500: _problem("The service failed; its log says why."),
    503: _problem("No model is being served yet, or the service is stopping."),
    504: _problem("No answer within the time allowed."),
}


@router.post(
    "/predict",
    summary="Classify one picture or many",
    responses=_PREDICT_RESPONSES,
    openapi_extra={"requestBody": UPLOAD_BODY},
)
async def predict(request: Request) -> Response:
    """Send pictures as multipart `files`, or one picture as the raw body.

    The answer has one entry a picture, in upload order. A picture that cannot be read has an
    `error` in its entry and spoils nothing else; if none can be read, the answer is a problem.
    """
    state: State = request.app.state.facemask
    settings = state.settings
    try:
        async with asyncio.timeout(settings.deadline_s):
            with state.live.use() as engine:
                uploads = await read_uploads(
                    request, max_bytes=settings.max_body_bytes, max_files=settings.max_files
                )
                with state.admission.enter(len(uploads)):
                    return await _answer(request, state, engine, uploads)
    except TimeoutError as error:
        raise DeadlinePassed(f"No answer within {settings.deadline_s:g} s.") from error
    except BatcherClosed as error:
        raise Stopping("The service is stopping: come again.") from error


async def _answer(
    request: Request, state: State, engine: Engine, uploads: Sequence[Upload]
) -> Response:
    outcomes = await _decode(state, engine, uploads)
    pictures = [outcome for outcome in outcomes if not isinstance(outcome, PictureError)]
    failures: list[tuple[int, str | None, FacemaskError]] = [
        (index, uploads[index].filename, outcome)
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, PictureError)
    ]
    if not pictures:
        raise all_failed(failures)
    answers = iter(await engine.predict(pictures))
    predictions = []
    for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True)):
        item: dict[str, Any] = {"index": index, "filename": upload.filename}
        if isinstance(outcome, PictureError):
            item["error"] = {"code": outcome.code, "detail": str(outcome)}
        else:
            item |= _prediction(engine, next(answers))
        predictions.append(item)
    return _json(
        {
            "model": {"version": engine.manifest.version, "labels": engine.labels},
            "predictions": predictions,
            "request_id": request.state.request_id,
        }
    )


def _prediction(engine: Engine, probabilities: Sequence[float]) -> dict[str, Any]:
    labels = engine.labels
    best = max(range(len(labels)), key=probabilities.__getitem__)
    score = probabilities[best]
    sure = score >= engine.manifest.decision.threshold
    return {
        "decision": labels[best] if sure else UNCERTAIN,
        "label": labels[best],
        "score": score,
        "scores": dict(zip(labels, probabilities, strict=True)),
    }


async def _decode(state: State, engine: Engine, uploads: Sequence[Upload]) -> list[_Outcome]:
    """Decode all pictures on the pool; a picture that fails gives its error."""
    loop = asyncio.get_running_loop()
    size, max_pixels = engine.manifest.input_px, state.settings.max_pixels

    def decode(upload: Upload) -> _Outcome:
        try:
            return decode_image(bytes(upload.data), size=size, max_pixels=max_pixels)
        except PictureError as error:
            return error

    return list(
        await asyncio.gather(
            *(loop.run_in_executor(state.decoders, decode, upload) for upload in uploads)
        )
    )


@router.get(
    "/health",
    summary="Whether the service can answer, and with which model",
    responses={
        200: {"model": HealthAnswer, "description": "A proven model is being served."},
        503: {"model": HealthAnswer, "description": "No model is being served yet."},
    },
)
async def health(request: Request) -> Response:
    """200 while a model is served that answers its golden pictures rightly, else 503."""
    state: State = request.app.state.facemask
    engine, refusal = state.live.engine, state.live.refusal
    ready = engine is not None and engine.alive()
    model = None
    if engine is not None:
        manifest = engine.manifest
        figures = manifest.metrics.get("cross_validation", {})
        model = {
            "version": manifest.version,
            "labels": manifest.labels,
            "created_at": manifest.created_at.isoformat(),
            "backbone": manifest.backbone.name,
            "balanced_accuracy": figures.get("balanced_accuracy"),
            "threshold": manifest.decision.threshold,
            "report": "/report" if engine.report else None,
        }
    return _json(
        {
            "status": "ok" if ready else "no_model",
            "model": model,
            "refused": {"version": refusal.version, "reason": refusal.reason} if refusal else None,
            "uptime_s": round(time.monotonic() - state.started, 3),
        },
        HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )


@router.get(
    "/report",
    summary="The report of the model that is being served",
    response_class=HTMLResponse,
    responses={
        200: {"description": "The page that the training job wrote: how good the model is."},
        404: _problem("The model has no report."),
        503: _problem("No model is being served yet."),
    },
)
async def report(request: Request) -> Response:
    """How good the model is, what it gets wrong, and what to do next: one HTML page."""
    state: State = request.app.state.facemask
    with state.live.use() as engine:
        if engine.report is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "This model was published without a report.")
        return HTMLResponse(engine.report)


def _json(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(
        json.dumps(document, ensure_ascii=False).encode(),
        status_code=status,
        media_type="application/json",
    )
