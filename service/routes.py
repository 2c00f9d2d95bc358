"""The endpoints: POST /predict and GET /health."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from service.answers import predictions
from service.batcher import BatcherClosed, TooLate
from service.examples import PROBLEM_SCHEMA, with_examples
from service.problems import MEDIA_TYPE, BadQuery, DeadlinePassed, Stopping
from service.schemas import (
    EXPLAIN_QUERY,
    PREDICT_EXAMPLES,
    UPLOAD_BODY,
    HealthAnswer,
    PredictAnswer,
)
from service.state import State
from service.uploads import read_uploads


class _Plain(APIRoute):
    """A route that takes the request and gives the response itself.

    FastAPI's way between the two costs as much as reading a form: there are no dependencies to
    solve and no model to make here. What is documented stays what it was.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


router = APIRouter(route_class=_Plain)


def _problem(text: str) -> dict[str, Any]:
    # `model` would announce application/json beside it.
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_SCHEMA}}}}


_PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": PredictAnswer,
        "description": "One entry a picture, in upload order.",
        "content": {"application/json": {"examples": PREDICT_EXAMPLES}},
    },
    400: _problem("No picture, an empty one, a broken multipart body, or a bad query."),
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
    responses=with_examples(_PREDICT_RESPONSES),
    openapi_extra={"requestBody": UPLOAD_BODY, "parameters": [EXPLAIN_QUERY]},
)
async def predict(request: Request) -> Response:
    """Send pictures as multipart `files`, or one picture as the raw body.

    The answer has one entry a picture, in upload order. A picture that cannot be read has an
    `error` in its entry and spoils nothing else; if none can be read, the answer is a problem.
    """
    state: State = request.app.state.facemask
    settings = state.settings
    deadline = time.monotonic() + settings.deadline_s
    try:
        async with asyncio.timeout(settings.deadline_s):
            explain = _explain(request)
            with state.live.use() as engine:
                state.admission.refuse_if_full()  # before the body is read
                uploads = await read_uploads(
                    request, max_bytes=settings.max_body_bytes, max_files=settings.max_files
                )
                with state.admission.enter(len(uploads)):
                    outcomes = await engine.predict(
                        [upload.data for upload in uploads], explain=explain, deadline=deadline
                    )
                return _json(
                    {
                        "model": {"version": engine.manifest.version, "labels": engine.labels},
                        "predictions": predictions(engine, uploads, outcomes),
                        "request_id": request.state.request_id,
                    }
                )
    except (TimeoutError, TooLate) as error:
        raise DeadlinePassed(f"No answer within {settings.deadline_s:g} s.") from error
    except BatcherClosed as error:
        raise Stopping("The service is stopping: come again.") from error


def _explain(request: Request) -> bool:
    """Whether class-activation maps are asked for: `?explain=true`."""
    if not request.scope["query_string"]:
        return False
    given = request.query_params.get("explain", "false")
    if given not in ("true", "false"):
        raise BadQuery("explain must be true or false.")
    return given == "true"


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
