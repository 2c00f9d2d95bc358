"""The application: settings in, ASGI app out. Nothing happens at import."""

import asyncio
import atexit
import contextlib
import multiprocessing
import re
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models import __version__
from models.errors import FacemaskError
from service.http import health, kserve, predict
from service.http.access_log import AccessLogMiddleware
from service.http.api_keys import document_keys
from service.http.fast_path import Direct
from service.http.middleware import AllowedHostsMiddleware, document_hosts
from service.http.openapi import add_problem_schema
from service.http.state import Admission, State
from service.http.static_pages import page_routes
from service.inference.engine import Engine
from service.inference.model_manager import Live, live_of
from service.inference.watchdog import Heart
from service.limits.budget import Bodies
from service.problems import answer_error
from service.process.allocator import limit_retained_memory
from service.process.background import run_in_background_thread, exit_if_threads_run
from service.process.shutdown import GracefulShutdown
from service.process.supervisor import terminate_with_supervisor
from service.settings import Settings, split_names
from service.telemetry.logging import configure_logging
from service.telemetry.metrics import Metrics
from service.telemetry.request_id import new_request_id
from service.telemetry.tracing import make_tracer_provider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_DESCRIPTION: Final = """Classifies pictures with the model that the training job published last.

    curl -F files=@a.jpg -F files=@b.jpg http://127.0.0.1:8000/predict

Without pictures at hand, save the [example picture](page/example.jpg) and send that. The
[web page](.) does the same without a command line.
"""

# What a caller's request id may look like, so that it can stand in logs and headers.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Most seconds that one of several processes waits for its first model before it accepts.
_FIRST_MODEL_S: Final = 10.0

# Most seconds that the stop waits for the last spans to be sent.
_LAST_SPANS_S: Final = 3.0

# Swagger UI and ReDoc need inline code, embedded pictures and a worker of their own making.
_PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'"
)


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    *,
    live: Live | None = None,
    metrics: Metrics | None = None,
    provider: "TracerProvider | None" = None,
) -> FastAPI:
    """Make the application.

    Args:
        settings: Read once, by the caller.
        engine: Serve this one and follow no store (for tests and embedding).
        live: Follow the store with this one, which may have looked already.
        metrics: What `live` tells of its engines.
        provider: Of traces, instead of the one that the settings ask for.
    """
    metrics = metrics or Metrics()
    provider = provider or make_tracer_provider(settings.traces)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        following = live or live_of(settings, metrics)
        heart = Heart(following, stuck_s=settings.stuck_s)
        shutdown = GracefulShutdown()
        state = State(
            settings=settings,
            live=following,
            metrics=metrics,
            heart=heart,
            shutdown=shutdown,
            admission=Admission(settings.max_waiting, settings.max_waiting_pixels),
            bodies=Bodies(settings.max_bodies_bytes),
            started=time.monotonic(),
        )
        app.state.facemask = state
        tasks = [asyncio.create_task(heart.watch())]
        if engine is not None:
            state.live.serve(engine)
        else:
            if settings.workers > 1:  # it accepts nothing yet, and others do
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(following.look(), _FIRST_MODEL_S)
            tasks.append(asyncio.create_task(following.follow()))
        try:
            with shutdown.install(settings.grace_s):
                yield {"metrics": metrics}  # for `Connection`
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await run_in_background_thread(state.live.close)
            if provider is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(run_in_background_thread(provider.shutdown), _LAST_SPANS_S)

    app = FastAPIOffline(
        title="Picture classifier",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        redoc_url=None,  # ours asks nobody for a logo
        swagger_ui_parameters={"tryItOutEnabled": True},
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `AccessLogMiddleware` has its own
    )
    app.include_router(predict.router)
    app.include_router(health.router)
    app.include_router(kserve.router)
    add_problem_schema(app)
    app.routes.extend(page_routes(app.title))
    app.add_exception_handler(FacemaskError, answer_error)
    app.add_exception_handler(HTTPException, answer_error)
    if settings.api_keys:
        document_keys(app, predict.router, health.router, kserve.router)
    app.add_middleware(Direct, route=predict.PREDICT_ROUTE)
    app.add_middleware(PageHeadersMiddleware)
    if settings.allowed_hosts:
        document_hosts(app)
        app.add_middleware(AllowedHostsMiddleware, hosts=split_names(settings.allowed_hosts))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=split_names(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(AccessLogMiddleware, provider=provider)
    app.add_middleware(RequestIdMiddleware)
    return app


class RequestIdMiddleware:
    """Gives each request an id: the caller's `X-Request-ID` if it is a plain one, or a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((v for k, v in scope["headers"] if k == b"x-request-id"), b"").decode(
            "latin-1"
        )
        request_id = given if _REQUEST_ID.fullmatch(given) else new_request_id()
        header = (b"x-request-id", request_id.encode())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if header not in headers:  # a problem document has it
                    message["headers"] = [*headers, header]
            await send(message)

        await self._app(scope, receive, send_with_id)


class PageHeadersMiddleware:
    """Keeps the documentation's pages and the report from any other host and out of any frame."""

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


def from_environment() -> FastAPI:
    """The application of one of several processes, which reads the settings for itself."""
    limit_retained_memory()
    settings = Settings()
    configure_logging(settings.log_format)
    if multiprocessing.parent_process() is not None:  # this process is the service's alone
        atexit.register(exit_if_threads_run)
    terminate_with_supervisor()
    return create_app(settings)
