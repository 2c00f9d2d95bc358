"""The endpoints: POST /predict and GET /health."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.routing import APIRoute

from models.imaging.face_detector import installed
from service.http.api_keys import KEYED, check_key
from service.http.face_responses import face_predictions
from service.http.openapi import with_examples
from service.http.responses import predictions
from service.http.schemas import (
    EXPLAIN_QUERY,
    FACES_QUERY,
    PREDICT_EXAMPLES,
    UPLOAD_BODY,
    HealthAnswer,
    PredictAnswer,
    problem_response,
)
from service.http.state import State, waiting_pixels
from service.http.uploads import Upload, read_uploads
from service.inference.batcher import BatcherClosed, TooLate
from service.inference.engine import Engine
from service.problems import BadQuery, DeadlinePassed, Stopping
from service.telemetry.metrics import MEDIA_TYPE as METRICS_TYPE


class _Plain(APIRoute):
    """A route that takes the request and gives the response itself.

    FastAPI's way between the two costs as much as reading a form: there are no dependencies to
    solve, but for the key, and no model to make here. What is documented stays what it was.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself, behind the check of the key if the route asks for one."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        if KEYED not in self.dependencies:
            return endpoint

        async def keyed(request: Request) -> Response:
            check_key(request)
            return await endpoint(request)

        return keyed


router = APIRouter(route_class=_Plain)


_PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": PredictAnswer,
        "description": "One entry a picture, in upload order.",
        "content": {"application/json": {"examples": PREDICT_EXAMPLES}},
    },
    400: problem_response("No picture, an empty one, a broken multipart body, or a bad query."),
    408: problem_response("The request's body takes too long to come."),
    413: problem_response("The body, a picture or the number of pictures is over its limit."),
    415: problem_response("Neither multipart nor a picture of a format that is read."),
    422: problem_response("No picture of the request can be read."),
    429: problem_response("As many pictures or bytes wait as are allowed; see Retry-After."),
    431: problem_response("The request's line and headers are larger than allowed."),
    500: problem_response("The service failed; its log says why."),
    501: problem_response("Faces are asked for, and no face detector is installed."),
    503: problem_response("No model is being served yet, or the service is stopping."),
    504: problem_response("No answer within the time allowed."),
}


@router.post(
    "/predict",
    summary="Classify one picture or many",
    responses=with_examples(_PREDICT_RESPONSES),
    openapi_extra={"requestBody": UPLOAD_BODY, "parameters": [EXPLAIN_QUERY, FACES_QUERY]},
    dependencies=[KEYED],
)
async def predict(request: Request) -> Response:
    """Send pictures as multipart `files`, or one picture as the raw body.

    With `faces=true` each face is found first and answered for itself.

    The answer has one entry a picture, in upload order. A picture that cannot be read has an
    `error` in its entry and spoils nothing else; if none can be read, the answer is a problem.
    """
    state: State = request.app.state.facemask
    settings = state.settings
    state.admission.refuse_if_full()  # before anything is read
    deadline = time.monotonic() + settings.deadline_s
    try:
        async with asyncio.timeout(settings.deadline_s):
            explain, faces = _flag(request, "explain"), _flag(request, "faces")
            with state.live.use() as engine, state.bodies.hold() as take:
                uploads = await read_uploads(
                    request,
                    max_bytes=settings.max_body_bytes,
                    max_files=settings.max_files,
                    seconds=settings.body_s,
                    take=take,
                )
                request.state.pictures = len(uploads)
                entries = await _entries(
                    state, engine, uploads, explain=explain, faces=faces, deadline=deadline
                )
                state.metrics.answered(
                    one for entry in entries for one in entry.get("faces", [entry])
                )
                return _json(
                    {
                        "model": {"version": engine.manifest.version, "labels": engine.labels},
                        "predictions": entries,
                        "request_id": request.state.request_id,
                    }
                )
    except (TimeoutError, TooLate) as error:
        raise DeadlinePassed(f"No answer within {settings.deadline_s:g} s.") from error
    except BatcherClosed as error:
        raise Stopping("The service is stopping: come again.") from error


PREDICT_ROUTE: Final = next(
    route for route in router.routes if isinstance(route, _Plain) and route.endpoint is predict
)


async def _entries(
    state: State,
    engine: Engine,
    uploads: Sequence[Upload],
    *,
    explain: bool,
    faces: bool,
    deadline: float,
) -> list[dict[str, Any]]:
    """One entry a picture, in upload order: for the whole of it, or for its faces."""
    settings, pictures = state.settings, [upload.data for upload in uploads]
    with state.admission.enter(len(pictures), waiting_pixels(pictures, settings.max_pixels)):
        if faces:
            return await face_predictions(
                engine, uploads, most=settings.max_faces, explain=explain, deadline=deadline
            )
        outcomes = await engine.predict(pictures, explain=explain, deadline=deadline)
    return predictions(engine, uploads, outcomes)


def _flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false, and false where it is not given."""
    if not request.scope["query_string"]:
        return False
    given = request.query_params.get(name, "false")
    if given not in ("true", "false"):
        raise BadQuery(f"{name} must be true or false.")
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
            "faces": installed(),
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
        404: problem_response("The model has no report."),
        503: problem_response("No model is being served yet."),
    },
    dependencies=[KEYED],
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


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    responses={200: {"description": "Counters, gauges and histograms in Prometheus' text format."}},
    tags=["health"],
)
async def metrics(request: Request) -> Response:
    """What the service has done and is doing, in Prometheus' text format."""
    state: State = request.app.state.facemask
    figures = state.metrics.render(state.load())
    return Response(figures, media_type=METRICS_TYPE)
