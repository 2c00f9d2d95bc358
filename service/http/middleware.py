"""Middleware for request ids, HEAD, allowed hosts and security headers."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.error_handler import answer_error
from service.problems import WrongHost
from service.telemetry.request_id import valid_or_new_request_id

PROBE_PATHS: Final = (
    "/livez", "/readyz", "/health", "/metrics", "/v2/health/live", "/v2/health/ready",
)  # fmt: skip
"""Paths that machines poll, by IP address instead of host name; they would fill the access log."""

# Swagger UI and ReDoc need inline code, embedded pictures and a worker from a blob.
_PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'"
)


class RequestIdMiddleware:
    """Middleware that gives each request an id: the caller's `X-Request-ID`, or a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((v for k, v in scope["headers"] if k == b"x-request-id"), b"")
        request_id = valid_or_new_request_id(given.decode("latin-1"))
        header = (b"x-request-id", request_id.encode())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if header not in headers:  # a problem document has it
                    message["headers"] = [*headers, header]
            await send(message)

        await self._app(scope, receive, send_with_id)


class AllowedHostsMiddleware:
    """Middleware that refuses requests whose Host header names another service."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """Create the middleware.

        Args:
            app: Application for the accepted requests.
            hosts: Names of the service; `*.example.org` matches all names below example.org.
        """
        self._app = app
        self._hosts = [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBE_PATHS or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        response = await answer_error(Request(scope), WrongHost())
        await response(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("host", "").lower()
        name = given.partition("]")[0] + "]" if given.startswith("[") else given.partition(":")[0]
        return any(
            name == host or (host.startswith("*.") and name.endswith(host[1:]))
            for host in self._hosts
        )


class SecurityHeadersMiddleware:
    """Middleware that sets security headers against type sniffing, frames and other hosts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                message["headers"] = [*given, (b"x-content-type-options", b"nosniff")]
                if dict(given).get(b"content-type", b"").startswith(b"text/html"):
                    headers = MutableHeaders(scope=message)
                    headers.setdefault("Referrer-Policy", "no-referrer")
                    headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
            await send(message)

        await self._app(scope, receive, send_with_policy)
