"""Middleware around every request: access log, metrics, trace, and answers to errors."""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.error_handler import answer_error
from service.http.middleware import PROBE_PATHS
from service.inference.state import State
from service.problems import Stopping
from service.telemetry.tracing import start_span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("facemask.access")

# Statuses of requests that are refused for lack of capacity, a model or time.
_SHED_STATUSES: Final = (429, 503, 504)
# Any other method is labelled "other": callers choose it, and must not add labels without end.
_METHODS: Final = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")


# Labels of pages and their files, which are no operations, by the beginning of their paths.
_LABELS: Final = {
    "/page/": "page",
    "/redoc": "docs",
    "/openapi.json": "docs",
    "/static-offline-docs/": "docs",
}


def _label(scope: Scope, status: int) -> str:
    """Return the label of a request that no operation answered.

    `unmatched` counts requests for paths that do not exist: scans, mostly.
    """
    if "endpoint" not in scope:
        return "unmatched" if status == HTTPStatus.NOT_FOUND else "other"
    path: str = scope["path"]
    if path == "/":
        return "page"
    return next((label for begin, label in _LABELS.items() if path.startswith(begin)), "other")


class AccessLogMiddleware:
    """Middleware that observes each request from its headers to the end of its answer."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider | None" = None) -> None:
        self._app = app
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: State = scope["app"].state.facemask
        scope.setdefault("state", {})
        started, status = time.perf_counter(), 0
        end_span = start_span(self._provider, scope)

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if state.shutdown.requested:  # clients reconnect, to another instance
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        except asyncio.CancelledError:
            # The server cancels unanswered requests at the end of its shutdown.
            if status:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await self._answer(Stopping(), scope, observed_send)
        except Exception as error:
            if status:  # the answer has begun; the server closes the connection
                raise
            await self._answer(error, scope, observed_send)
        finally:
            seconds = time.perf_counter() - started
            end_span(*self._record(scope, state, status, seconds))

    async def _answer(self, error: Exception, scope: Scope, send: Send) -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        response = await answer_error(Request(scope), error)
        await response(scope, receive, send)

    def _record(
        self, scope: Scope, state: State, status: int, seconds: float
    ) -> tuple[str, dict[str, str | int]]:
        """Record the metrics and write the log line; return the span's name and attributes."""
        request_state = scope["state"]
        route = getattr(scope.get("route"), "path", None) or _label(scope, status)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        code = request_state.get("code")
        state.metrics.record_request(route, status, seconds, state.load())
        if code and status in _SHED_STATUSES and route not in PROBE_PATHS:
            state.metrics.record_shed(code)
        level = logging.DEBUG if route in PROBE_PATHS else logging.INFO
        if log.isEnabledFor(level):
            # log.log() would look up the calling line, which costs more than writing the log line.
            record = logging.LogRecord(log.name, level, __file__, 0, "request", None, None)
            record.__dict__.update(
                request_id=request_state.get("request_id"),
                method=method,
                route=route,
                status=status,
                ms=round(1000 * seconds, 1),
                pictures=request_state.get("pictures"),
                code=code,
            )
            log.handle(record)
        return f"{method} {route}", {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "facemask.request_id": str(request_state.get("request_id")),
            "facemask.pictures": request_state.get("pictures") or 0,
        }
