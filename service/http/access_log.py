"""Around every request: its log line, its figures, its span, and an answer whatever happens."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.state import State
from service.problems import Stopping, answer_error
from service.telemetry.tracing import start_span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("facemask.access")

# Asked every few seconds by machines; their lines would bury the others.
_QUIET: Final = ("/livez", "/readyz", "/health", "/metrics", "/v2/health/live", "/v2/health/ready")
# Problems that say nothing of the request: there was no room, no time or no model for it.
_SHED: Final = ("overloaded", "deadline_passed", "stopping", "no_model", "stuck")
# A caller chooses the method; a label must not have as many values as callers have ideas.
_METHODS: Final = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")


class AccessLogMiddleware:
    """Middleware that sees each request from its head to the end of its answer."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider | None" = None) -> None:
        self._app = app
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: State = scope["app"].state.facemask
        scope.setdefault("state", {})
        began, status = time.perf_counter(), 0
        end_span = start_span(self._provider, scope)

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if state.shutdown.requested:  # whoever keeps the connection finds another one in time
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except asyncio.CancelledError:
            # The server cancels what is not answered when its time to stop is over.
            if status:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await self._answer(
                Stopping("The service is stopping: come again."), scope, watched_send
            )
        except Exception as error:
            if status:  # too late for another answer; the server closes the connection
                raise
            await self._answer(error, scope, watched_send)
        finally:
            self._tell(scope, state, status, time.perf_counter() - began, end_span)

    async def _answer(self, error: Exception, scope: Scope, send: Send) -> None:
        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        response = await answer_error(Request(scope), error)
        await response(scope, nothing, send)

    def _tell(self, scope: Scope, state: State, status: int, seconds: float, end_span: Any) -> None:
        told = scope["state"]
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        code = told.get("code")
        state.metrics.request(route, status, seconds, state.load())
        if code in _SHED and route not in _QUIET:
            state.metrics.shed(code)
        fields = {
            "request_id": told.get("request_id"),
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "pictures": told.get("pictures"),
            "code": code,
        }
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if log.isEnabledFor(level):
            # Not by log.log(): looking for the line that calls costs more than writing.
            record = logging.LogRecord(log.name, level, __file__, 0, "request", None, None)
            record.__dict__.update(fields)
            log.handle(record)
        facts: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "facemask.request_id": str(told.get("request_id")),
            "facemask.pictures": told.get("pictures") or 0,
        }
        end_span(f"{method} {route}", facts)
