"""Health, probes, and the documents of the model being served."""

import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse

from models.bundle.files import CARD, example_name
from models.bundle.report_policy import SERVED_REPORT_POLICY
from models.imaging.face_detector import is_installed
from service.http.openapi.document import problem_responses
from service.http.openapi.schemas import HealthAnswer, Probe
from service.http.responses import json_response
from service.inference.decision import SCORE_DIGITS
from service.inference.state import State
from service.problems import (
    NoDocument,
    NoModel,
    Stopping,
    Stuck,
)

router = APIRouter()
keyed_router = APIRouter()
"""Operations that an API key protects."""


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, SCORE_DIGITS)


@router.get(
    "/health",
    summary="Status and model being served",
    responses={
        200: {"model": HealthAnswer, "description": "A verified model is being served."},
        503: {"model": HealthAnswer, "description": "No model is being served yet."},
    },
)
async def health(request: Request) -> Response:
    """Return 200 while a model is served that answered its golden pictures correctly, else 503."""
    state: State = request.app.state.facemask
    engine, refusal = state.model_manager.engine, state.model_manager.refusal
    polled_s, loading = state.model_manager.polled_s, state.model_manager.loading
    ready = engine is not None and engine.alive()
    model = None
    if engine is not None:
        manifest, scores = engine.manifest, engine.manifest.scores
        model = {
            "version": manifest.version,
            "labels": manifest.labels,
            "created_at": manifest.created_at.isoformat(),
            "backbone": manifest.backbone.name,
            "balanced_accuracy": _rounded(scores.balanced_accuracy),
            "balanced_accuracy_interval_95": scores.balanced_accuracy_interval_95
            and [*map(_rounded, scores.balanced_accuracy_interval_95)],
            "pictures": scores.pictures,
            "threshold": round(engine.threshold, SCORE_DIGITS),
            "framing": "face" if engine.framing or engine.crops_faces else "whole",
            "report": "/report" if engine.report else None,
            "card": "/model-card" if CARD in engine.documents else None,
            "examples": {
                label: f"/examples/{index}"
                for index, label in enumerate(engine.labels)
                if example_name(index) in engine.documents
            },
        }
    return json_response(
        {
            "status": "ok" if ready else "loading" if loading and engine is None else "no_model",
            "model": model,
            "loading": loading
            and {
                "version": loading.version,
                "since": loading.started_at.isoformat(timespec="milliseconds"),
            },
            "refused": {"version": refusal.version, "reason": refusal.reason} if refusal else None,
            "store_polled_s": None if polled_s is None else round(polled_s, 3),
            "faces": is_installed(),
            "uptime_s": round(time.monotonic() - state.started, 3),
        },
        HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )


@keyed_router.get(
    "/report",
    summary="The report of the model that is being served",
    response_class=HTMLResponse,
    responses={
        200: {"description": "The page that the training job wrote: how good the model is."},
        **problem_responses(NoDocument, NoModel),
    },
)
async def report(request: Request) -> Response:
    """Return one HTML page: the model's accuracy, its errors, and what to do next."""
    state: State = request.app.state.facemask
    with state.model_manager.lease() as engine:
        if engine.report is None:
            raise NoDocument
        policy = {"Content-Security-Policy": SERVED_REPORT_POLICY}
        return HTMLResponse(engine.report, headers=policy)


@keyed_router.get(
    "/model-card",
    summary="The model card of the model that is being served",
    response_class=Response,
    responses={
        200: {
            "content": {"text/markdown": {}},
            "description": "Data, use and limits of the model.",
        },
        **problem_responses(NoDocument, NoModel),
    },
)
async def model_card(request: Request) -> Response:
    """Return the model card as Markdown."""
    return _document(request, CARD, "text/markdown", "a model card")


@keyed_router.get(
    "/examples/{index}",
    summary="An example picture of a class",
    response_class=Response,
    responses={
        200: {
            "content": {"image/jpeg": {}},
            "description": "A picture of the data set; `/health` names those that there are.",
        },
        **problem_responses(NoDocument, NoModel),
    },
)
async def example(
    request: Request, index: Annotated[str, Path(description="Index of the label, from 0.")]
) -> Response:
    """Return the example picture of the class with this index among the model's labels."""
    return _document(request, example_name(index), "image/jpeg", "this example picture")


def _document(request: Request, name: str, media_type: str, what: str) -> Response:
    """Return a file of the bundle, which a browser neither runs nor frames.

    Raises:
        NoDocument: The bundle does not have it.
    """
    state: State = request.app.state.facemask
    with state.model_manager.lease() as engine:
        if name not in engine.documents:
            raise NoDocument(f"This model was published without {what}.")
        data = engine.documents[name]
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'"}
    return Response(data, media_type=media_type, headers=headers)


@router.get(
    "/livez",
    summary="Liveness probe",
    responses={200: {"model": Probe}, **problem_responses(Stuck)},
    tags=["health"],
)
async def livez(request: Request) -> Probe:
    """Return 503 once all lanes are dead or one hangs; a hung event loop returns nothing."""
    state: State = request.app.state.facemask
    state.watchdog.raise_if_stuck()
    return Probe()


@router.get(
    "/readyz",
    summary="Readiness probe",
    responses={200: {"model": Probe}, **problem_responses(NoModel, Stopping, Stuck)},
    tags=["health"],
)
async def readyz(request: Request) -> Probe:
    """Return 503 until a model is warm, while it is stuck, and from SIGTERM on."""
    require_ready(request.app.state.facemask)
    return Probe()


def require_ready(state: State) -> None:
    """Raise unless the service can answer pictures.

    Raises:
        Stopping: The service is shutting down.
        NoModel: No model is being served yet.
        Stuck: The model worker is dead or hangs.
    """
    if state.shutdown.requested:
        raise Stopping
    if state.model_manager.engine is None:
        raise state.model_manager.no_model()
    state.watchdog.raise_if_stuck()
    if not state.model_manager.engine.alive():
        raise Stuck
