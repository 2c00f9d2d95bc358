"""Middleware around every request: access control, limits, headers and logs.

RequestMiddleware    id, limits of the body, security headers, access log, audit log
SecurityMiddleware   Host, origin, key and role, before any route is searched
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.database.audit import record
from studio.http.errors import answer_error
from studio.http.session import SESSION_PATH, find_actor, require
from studio.http.state import State
from studio.keys import Actor, Role
from studio.problems import (
    BodyTooLarge,
    CrossSite,
    NotAllowed,
    StudioError,
    TooBusy,
    WrongHost,
)

log = logging.getLogger("facemask.studio.access")
errors = logging.getLogger("facemask.studio")

API: Final = "/api/"
PROBE_PATHS: Final = ("/livez",)
"""Paths that machines poll, by any name of the host."""

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Changes that need the role `promote`; all others need `label`, and reads need `look`.
_PROMOTE: Final = re.compile(r"/api/live/(promote|rollback)")
_DELETE_PROJECT: Final = re.compile(r"/api/projects/[^/]+")
# Requests with a body that change nothing, or that are not an act of a person.
_READING: Final = re.compile(r"/api/live/predict|/api/projects/[^/]+/plan")
_ARCHIVE: Final = re.compile(r"/api/projects/[^/]+/archive")
# Max seconds without a byte of a body.
_BODY_IDLE_S: Final = 30.0

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
# Swagger UI needs inline code and embedded pictures.
_DOCS_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'"
)


def needed_role(method: str, path: str) -> Role:
    """Return the role that a request of the API needs."""
    if method in SAFE_METHODS or _READING.fullmatch(path):
        return Role.LOOK
    if _PROMOTE.fullmatch(path) or (method == "DELETE" and _DELETE_PROJECT.fullmatch(path)):
        return Role.PROMOTE
    return Role.LABEL


def check_host(host: str, allowed: Sequence[str]) -> None:
    """Raise unless a Host header names the studio.

    A page of another site can give its own name the studio's address (DNS rebinding): then its
    requests count as same-origin, but the Host header still has its name.

    Raises:
        WrongHost: It names another server.
    """
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    if name.lower() not in allowed:
        raise WrongHost(
            f"The studio does not answer to the host {name[:100] or '(none)'}: "
            "FACEMASK_STUDIO_ALLOWED_HOSTS names those that it answers to."
        )


def check_origin(method: str, headers: Headers) -> None:
    """Raise unless a request of the API comes from the studio's page, or from no page at all.

    Raises:
        CrossSite: A page of another site sends it, or a change lacks the studio's header.
    """
    site = headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none"):
        raise CrossSite("A page of another site may not use the studio.")
    if method in SAFE_METHODS:
        return
    if headers.get("x-requested-with") != "studio":
        raise CrossSite("Changes need the header 'X-Requested-With: studio'.")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        raise CrossSite("Changes come from the studio's own page only; the Origin is another.")


class SecurityMiddleware:
    """Middleware that lets a request pass if its host, origin, key and role are right."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except StudioError as error:
            response = await answer_error(Request(scope), error)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        state: State = scope["app"].state.studio
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        settings = state.settings
        named = [name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()]
        # With keys, another site's name is harmless: browsers send it no cookie of the studio.
        if path not in PROBE_PATHS and (named or not state.keys):
            check_host(headers.get("host", ""), [*named, *_LOOPBACK_NAMES])
        scope["state"]["identity"] = None
        if not path.startswith(API):
            return
        check_origin(method, headers)
        if path == SESSION_PATH:
            scope["state"]["identity"] = self._actor_or_none(state, headers)
            return
        actor = require(find_actor(headers, state.keys, state.session_secret))
        scope["state"]["identity"] = actor
        role = needed_role(method, path)
        if actor.role < role:
            raise NotAllowed(
                f"This needs the role {role}; the key of {actor.name} has {actor.role}."
            )

    def _actor_or_none(self, state: State, headers: Headers) -> Actor | None:
        try:
            return find_actor(headers, state.keys, state.session_secret)
        except StudioError:
            return None


class RequestMiddleware:
    """Middleware that observes each request from its headers to the end of its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await _audit(scope, status)
                _add_headers(message, scope["path"], request_id)
            await send(message)

        self._in_progress += 1
        try:
            await self._answer(scope, receive, observed_send)
        except Exception as error:
            if status:  # the answer has begun; the server closes the connection
                raise
            await self._refuse(scope, error, observed_send)
        finally:
            self._in_progress -= 1
            _log(scope, status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: State = scope["app"].state.studio
        if self._in_progress > state.settings.max_connections:
            limit = state.settings.max_connections
            raise TooBusy(f"{limit:,} requests are in progress: try again.")
        is_archive = _ARCHIVE.fullmatch(scope["path"]) is not None
        limit = state.settings.max_archive_bytes if is_archive else state.settings.max_body_bytes
        await self._app(scope, bounded_receive(scope, receive, limit), send)

    async def _refuse(self, scope: Scope, error: Exception, send: Send) -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        response = await answer_error(Request(scope), error)
        await response(scope, receive, send)


def bounded_receive(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return a `receive` that raises once a body is too large, or stops arriving.

    Raises:
        BodyTooLarge: The body is announced or found to be larger than the limit.
    """
    announced = Headers(scope=scope).get("content-length", "0")
    too_large = BodyTooLarge(f"The request's body is larger than the {limit:,} bytes allowed.")
    if not announced.isdecimal() or int(announced) > limit:
        raise too_large
    received, is_whole = 0, False

    async def bounded() -> Message:
        nonlocal received, is_whole
        if is_whole:
            return await receive()  # waits for the end of the connection
        try:
            message = await asyncio.wait_for(receive(), _BODY_IDLE_S)
        except TimeoutError:
            scope["state"]["body_error"] = BodyTooLarge(
                f"The request's body has stopped arriving for {_BODY_IDLE_S:g} s."
            )
            raise scope["state"]["body_error"] from None
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received > limit:
            scope["state"]["body_error"] = too_large
            raise too_large
        return message

    return bounded


async def _audit(scope: Scope, status: int) -> None:
    """Record a successful change in the audit log, before its answer is sent."""
    method, path = scope["method"], scope["path"]
    if method in SAFE_METHODS or status >= HTTPStatus.BAD_REQUEST or not path.startswith(API):
        return
    if _READING.fullmatch(path):
        return
    state: State = scope["app"].state.studio
    actor: Actor | None = scope["state"].get("identity")
    parameters: dict[str, Any] = dict(scope.get("path_params") or {})
    project = parameters.pop("project", parameters.pop("p", None))
    write: Callable[[], None] = lambda: record(  # noqa: E731
        state.database,
        actor or Actor("nobody", Role.LOOK),
        f"{method} {getattr(scope.get('route'), 'path', path)}",
        project=int(project) if str(project).isdecimal() else None,
        detail={name: str(value) for name, value in parameters.items()},
        request_id=scope["state"]["request_id"],
    )
    try:
        await run_in_threadpool(write)
    except Exception as error:  # noqa: BLE001 - the change is done: its answer must be sent
        errors.error("the audit log cannot be written", exc_info=error)


def _add_headers(message: Message, path: str, request_id: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Request-ID"] = request_id
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if headers.get("content-type", "").startswith("text/html"):
        headers.setdefault("Content-Security-Policy", _DOCS_POLICY)
    elif path.startswith(API):
        # A picture or a JSON document that is opened as a page of its own runs nothing.
        headers.setdefault("Content-Security-Policy", "default-src 'none'; sandbox")
        headers.setdefault("Cache-Control", "no-store")


def _log(scope: Scope, status: int, seconds: float) -> None:
    # The page polls every few seconds: successful reads would flood the log.
    is_read = scope["method"] in SAFE_METHODS and status < HTTPStatus.BAD_REQUEST
    level = logging.DEBUG if is_read else logging.INFO
    if not log.isEnabledFor(level):
        return
    route = getattr(scope.get("route"), "path", "other")
    fields = {
        "request_id": scope["state"]["request_id"],
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 1),
        "code": scope["state"].get("code"),
    }
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    log.log(level, "request %s", shown)
