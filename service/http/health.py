"""GET /livez and /readyz: what an orchestrator asks before it restarts, or sends callers here."""

from typing import Any

from fastapi import APIRouter, Request

from service.http.schemas import Probe, problem_response
from service.http.state import State
from service.problems import NoModel, Stopping, Stuck

router = APIRouter(tags=["health"])

_UNAVAILABLE: dict[str, Any] = problem_response("It is not; `code` says why.")


@router.get(
    "/livez",
    summary="Whether the process is worth keeping",
    responses={200: {"model": Probe}, 503: _UNAVAILABLE},
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
    if state.stop.asked:
        raise Stopping("The service is stopping: come again.")
    if state.live.engine is None:
        raise NoModel("No model is being served yet: GET /health says why.")
    state.heart.require()
    if not state.live.engine.alive():
        raise Stuck("The model's worker does not answer: restart the service.")
