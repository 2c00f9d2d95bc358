"""The ASGI application, made from the settings; nothing happens at import."""

import asyncio
import atexit
import contextlib
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from models import __version__
from models.allocator import limit_retained_memory
from models.errors import FacemaskError
from service.http import health, predict
from service.http import metrics as metrics_route
from service.http.access_log import AccessLogMiddleware
from service.http.api_keys import ApiKeyCheck
from service.http.error_handler import answer_error
from service.http.fast_path import FastPathMiddleware
from service.http.kserve import routes as kserve
from service.http.kserve.schema import HEADER_LENGTH
from service.http.middleware import (
    AllowedHostsMiddleware,
    RequestIdMiddleware,
    SecurityHeadersMiddleware,
)
from service.http.openapi.document import complete_openapi, problem_responses
from service.http.static_pages import page_routes
from service.inference.engine import Engine
from service.inference.model_manager import ModelManager, create_model_manager
from service.inference.state import State
from service.inference.watchdog import Watchdog
from service.limits.budget import RequestBudgets
from service.problems import KeyRefused, KeyRequired
from service.process.background import exit_if_threads_run, run_in_background_thread
from service.process.shutdown import GracefulShutdown
from service.process.supervisor import terminate_with_supervisor
from service.settings import Settings, split_hashes, split_names
from service.telemetry.logging import configure_logging
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import make_tracer_provider
from web.head import HeadMiddleware

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]

_DESCRIPTION: Final = """Classifies pictures with the model that the training job published last.

    curl -F files=@example.jpg http://127.0.0.1:8000/predict

Any picture will do, and several at once, each with a `-F files=@` of its own;
[example.jpg](page/example.jpg) is one to try it with. The [web page](.) does the same without a
command line.
"""

# Headers that a web page of another origin may send; the last three continue its trace.
_CORS_REQUEST_HEADERS: Final = (
    "Authorization", "X-API-Key", "X-Request-ID", HEADER_LENGTH,
    "traceparent", "tracestate", "baggage",
)  # fmt: skip

# Max seconds that one of several workers waits for its first model before it accepts requests.
_FIRST_MODEL_S: Final = 10.0

# Max seconds that shutdown waits for the last spans to be sent.
_LAST_SPANS_S: Final = 3.0


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    *,
    model_manager: ModelManager | None = None,
    metrics: Metrics | None = None,
    provider: "TracerProvider | None" = None,
) -> FastAPI:
    """Create the application.

    Args:
        settings: Settings, read once by the caller.
        engine: Engine to serve instead of a store's model (for tests and embedding).
        model_manager: Manager that follows the store, perhaps already loading a model.
        metrics: Metrics that `model_manager` reports to.
        provider: Provider of traces, instead of the one in the settings.
    """
    metrics = metrics or Metrics()
    provider = provider or make_tracer_provider(settings.traces)
    app = FastAPIOffline(
        title="Picture classifier",
        description=_DESCRIPTION.replace(":8000", f":{settings.port or 8000}"),
        version=__version__,
        lifespan=_lifespan(settings, engine, model_manager, metrics, provider),
        redirect_slashes=False,  # would redirect to the Host header's address, without TLS
        redoc_url=None,  # `page_routes` serves ReDoc without its maker's logo from elsewhere
        swagger_ui_parameters={"tryItOutEnabled": True},
        # Off: `AccessLogMiddleware` does all three.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    check_key = ApiKeyCheck(split_hashes(settings.api_keys)) if settings.api_keys else None
    for router in (predict.router, health.keyed_router, kserve.keyed_router):
        app.include_router(
            router,
            dependencies=[Depends(check_key)] if check_key else [],
            responses=problem_responses(KeyRequired, KeyRefused) if check_key else {},
        )
    app.include_router(health.router)
    app.include_router(metrics_route.router)
    app.include_router(kserve.router)
    app.routes.extend(page_routes(app.title, studio_url=settings.studio_url))
    complete_openapi(app, checks_host=bool(settings.allowed_hosts))
    app.add_exception_handler(FacemaskError, answer_error)
    app.add_exception_handler(HTTPException, answer_error)

    # From the innermost to the outermost.
    app.add_middleware(
        FastPathMiddleware, path="/predict", endpoint=predict.predict, check_key=check_key
    )
    app.add_middleware(SecurityHeadersMiddleware)
    if settings.allowed_hosts:
        app.add_middleware(AllowedHostsMiddleware, hosts=split_names(settings.allowed_hosts))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=split_names(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=_CORS_REQUEST_HEADERS,
            expose_headers=["X-Request-ID", "Retry-After", HEADER_LENGTH],
        )
    app.add_middleware(HeadMiddleware)
    app.add_middleware(AccessLogMiddleware, provider=provider)
    app.add_middleware(RequestIdMiddleware)
    return app


def _lifespan(
    settings: Settings,
    engine: Engine | None,
    model_manager: ModelManager | None,
    metrics: Metrics,
    provider: "TracerProvider | None",
) -> Lifespan:
    """Return the context that the application runs in: its state and background tasks."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        manager = model_manager or create_model_manager(settings, metrics)
        watchdog = Watchdog(manager, stuck_s=settings.stuck_s)
        shutdown = GracefulShutdown()
        app.state.facemask = State(
            settings=settings,
            model_manager=manager,
            budgets=RequestBudgets.from_settings(settings),
            metrics=metrics,
            watchdog=watchdog,
            shutdown=shutdown,
            started=time.monotonic(),
        )
        tasks = [asyncio.create_task(watchdog.run())]
        if engine is not None:
            manager.serve(engine)
        else:
            if settings.workers > 1:  # until this one accepts requests, the other workers do
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(manager.poll_once(), _FIRST_MODEL_S)
            tasks.append(asyncio.create_task(manager.run()))
        try:
            with shutdown.install(settings.grace_s):
                yield {"metrics": metrics}  # read by `BoundedHttpProtocol`
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await run_in_background_thread(manager.close)
            if provider is not None:
                with contextlib.suppress(TimeoutError):
                    flush = run_in_background_thread(provider.shutdown)
                    await asyncio.wait_for(flush, _LAST_SPANS_S)

    return lifespan


def from_environment() -> FastAPI:
    """Create the application of a worker process, with settings from the environment."""
    limit_retained_memory()
    settings = Settings()
    configure_logging(settings.log_format)
    if multiprocessing.parent_process() is not None:  # in a worker, not in a caller's process
        atexit.register(exit_if_threads_run)
    terminate_with_supervisor()
    return create_app(settings)
