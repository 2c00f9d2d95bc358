"""GET /metrics: the service's metrics for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.inference.state import State
from service.telemetry.metrics import MEDIA_TYPE

router = APIRouter()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={200: {"description": "Counters, gauges and histograms in Prometheus' text format."}},
    tags=["health"],
)
async def metrics(request: Request) -> Response:
    """Return the service's metrics in Prometheus' text format."""
    state: State = request.app.state.facemask
    return Response(state.metrics.render(state.load()), media_type=MEDIA_TYPE)
