"""GET /livez and /readyz: what an orchestrator asks before it restarts, or sends callers here."""

import time
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from models.imaging.face_detector import installed
from service.http.api_keys import KEYED
from service.http.responses import json_response
from service.http.schemas import HealthAnswer, Probe, problem_response
from service.http.state import State
from service.problems import NoModel, Stopping, Stuck
from service.telemetry.metrics import MEDIA_TYPE as METRICS_TYPE

router = APIRouter()

_UNAVAILABLE: dict[str, Any] = problem_response("It is not; `code` says why.")


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
    return json_response(
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


@router.get(
    "/livez",
    summary="Whether the process is worth keeping",
    responses={200: {"model": Probe}, 503: _UNAVAILABLE},
    tags=["health"],
)
async def livez(request: Request) -> Probe:
    """503 once no lane works, or one hangs; no answer at all if the event loop does."""
    state: State = request.app.state.facemask
    state.heart.require()
    return Probe()


@router.get(
    "/readyz",
    summary="Whether to send pictures here",
    responses={200: {"model": Probe}, 503: _UNAVAILABLE},
    tags=["health"],
)
async def readyz(request: Request) -> Probe:
    """503 before a model is warm, without one, while it is stuck, and from SIGTERM on."""
    require_ready(request.app.state.facemask)
    return Probe()


def require_ready(state: State) -> None:
    """Pass if pictures can be sent here.

    Raises:
        Stopping, NoModel, Stuck: They cannot.
    """
    if state.shutdown.requested:
        raise Stopping("The service is stopping: come again.")
    if state.live.engine is None:
        raise NoModel("No model is being served yet: GET /health says why.")
    state.heart.require()
    if not state.live.engine.alive():
        raise Stuck("The model's worker does not answer: restart the service.")
