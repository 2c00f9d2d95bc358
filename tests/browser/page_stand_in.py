"""Application whose service can require a key, be busy, or be slow."""

import contextlib
import json
from collections.abc import Callable, Iterator
from threading import Event

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.service.fixtures import happens


class StandIn:
    """Middleware before POST /predict; by default, all requests pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._key: str | None = None
        self._busy = 0
        self._held: Event | None = None

    @contextlib.contextmanager
    def wanting(self, key: str) -> Iterator[None]:
        self._key = key
        try:
            yield
        finally:
            self._key = None

    @contextlib.contextmanager
    def busy(self, *, times: int) -> Iterator[None]:
        self._busy = times
        try:
            yield
            assert self._busy == 0
        finally:
            self._busy = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[], None]]:
        """Keep requests waiting until released."""
        self._held = Event()
        try:
            yield self._held.set
        finally:
            self._held.set()
            self._held = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict":
            await self._app(scope, receive, send)
            return
        if self._key is not None:
            given = Headers(scope=scope).get("authorization")
            if given != f"Bearer {self._key}":
                await _problem(401, "key_refused" if given else "key_required")(
                    scope, receive, send
                )
                return
        if self._busy:
            self._busy -= 1
            await _problem(429, "overloaded")(scope, receive, send)
            return
        if self._held is not None:
            await happens(self._held)
        await self._app(scope, receive, send)


def _problem(status: int, code: str) -> Response:
    return Response(
        json.dumps({"status": status, "code": code, "detail": "As the test wants it."}),
        status_code=status,
        media_type="application/problem+json",
        headers={"Retry-After": "0"},
    )
