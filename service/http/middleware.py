"""Which names the service answers to: the Host header against FACEMASK_ALLOWED_HOSTS."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.openapi import with_examples
from service.http.schemas import problem_response
from service.problems import WrongHost, answer_error

# Probes and scrapers ask by address.
_ANY_HOST: Final = (
    "/livez", "/readyz", "/health", "/metrics", "/v2/health/live", "/v2/health/ready",
)  # fmt: skip


class AllowedHostsMiddleware:
    """Middleware that refuses requests to names that are not the service's own."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """Take names; `*.example.org` stands for all below example.org."""
        self._app = app
        self._hosts = [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _ANY_HOST or self._known(scope):
            await self._app(scope, receive, send)
            return
        error = WrongHost("The service does not answer to that Host.")
        response = await answer_error(Request(scope), error)
        await response(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("host", "").lower()
        name = given.partition("]")[0] + "]" if given.startswith("[") else given.partition(":")[0]
        return any(
            name == host or (host.startswith("*.") and name.endswith(host[1:]))
            for host in self._hosts
        )


def document_hosts(app: FastAPI) -> None:
    """Say in the OpenAPI document which operations are refused under another name."""
    plain = app.openapi
    shown = with_examples({421: problem_response("The Host header names another service.")})[421]

    def with_hosts() -> dict[str, Any]:
        document = plain()
        for path, operations in document["paths"].items():
            if path not in _ANY_HOST:
                for operation in operations.values():
                    operation["responses"]["421"] = shown
        return document

    app.openapi = with_hosts  # type: ignore[method-assign]  # as FastAPI documents it
