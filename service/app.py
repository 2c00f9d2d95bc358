"""The application: settings in, ASGI app out. Nothing happens at import."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import FacemaskError
from service import routes
from service.engine import Engine
from service.examples import add_problem_schema
from service.live import Live, live_of
from service.log import configure_logging
from service.page_routes import page_routes
from service.problems import answer_error
from service.settings import Settings
from service.state import Admission, State

_DESCRIPTION: Final = """Classifies pictures with the model that the training job published last.

    curl -F files=@a.jpg -F files=@b.jpg http://127.0.0.1:8000/predict

Without pictures at hand, save the [example picture](page/example.jpg) and send that. The
[web page](.) does the same without a command line.
"""

# What a caller's request id may look like, so that it can stand in logs and headers.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

# Swagger UI and ReDoc need inline code, embedded pictures and a worker of their own making.
_PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:"
)


def create_app(
    settings: Settings, engine: Engine | None = None, live: Live | None = None
) -> FastAPI:
    """Make the application.

    Args:
        settings: Read once, by the caller.
        engine: Serve this one and follow no store (for tests and embedding).
        live: Follow the store with this one, which may have looked already.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = State(
            settings=settings,
            live=live or live_of(settings),
            admission=Admission(settings.max_waiting),
            started=time.monotonic(),
        )
        app.state.facemask = state
        following = None
        if engine is not None:
            state.live.serve(engine)
        else:
            following = asyncio.create_task(state.live.follow())
        try:
            yield
        finally:
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
            state.live.close()

    app = FastAPIOffline(
        title="Picture classifier",
        description=_DESCRIPTION,
        version="0.1.0",
        lifespan=lifespan,
        redoc_url=None,  # ours asks nobody for a logo
        swagger_ui_parameters={"tryItOutEnabled": True},
    )
    app.include_router(routes.router)
    add_problem_schema(app)
    app.routes.extend(page_routes(app.title))
    app.add_exception_handler(FacemaskError, answer_error)
    app.add_exception_handler(HTTPException, answer_error)
    app.add_exception_handler(Exception, answer_error)
    app.add_middleware(OwnHostOnly)
    app.add_middleware(RequestId)
    return app


class RequestId:
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
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        header = (b"x-request-id", request_id.encode())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if header not in headers:  # a problem document has it
                    message["headers"] = [*headers, header]
            await send(message)

        await self._app(scope, receive, send_with_id)


class OwnHostOnly:
    """Keeps the documentation's pages and the report from asking any other host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "GET":  # only pages are documents
            await self._app(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
            await send(message)

        await self._app(scope, receive, send_with_policy)


def from_environment() -> FastAPI:
    """The application of one of several processes, which reads the settings for itself."""
    configure_logging()
    return create_app(Settings())
