"""The ASGI application of the studio, made from the settings; nothing happens at import."""

import asyncio
import contextlib
import logging
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Route

from models import __version__
from models.errors import FacemaskError
from studio.database import Database, open_database
from studio.http import blobs, jobs, labels, live, projects, runs, session, versions
from studio.http.errors import answer_error
from studio.http.middleware import RequestMiddleware, SecurityMiddleware
from studio.http.openapi import complete_openapi
from studio.http.state import State
from studio.http.uploads import routes as uploads
from studio.http.uploads import tables
from studio.jobs.ending import Work
from studio.jobs.supervisor import Supervisor
from studio.keys import Key
from studio.live.candidates import Candidates
from studio.pictures.blobs import BlobStore
from studio.pictures.removal import delete_files
from studio.problems import StudioError
from studio.runs.work import StudioWork
from studio.settings import Settings
from studio.versions.store import VersionStore
from web.head import HeadMiddleware
from web.pages import WebPage

log = logging.getLogger("facemask.studio")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

JOBS: Final = "jobs"
"""Folder of the jobs, in the data folder."""

_DESCRIPTION: Final = """From folders of pictures to a served model: data, labels, versions, jobs,
runs and the live model. Changes need the header `X-Requested-With: studio`."""
_WEB_FOLDER: Final = Path(__file__).parent / "web"
_SESSIONS_FILE: Final = "sessions.key"
_SECRET_BYTES: Final = 32


def create_app(
    settings: Settings,
    keys: Sequence[Key] = (),
    *,
    database: Database | None = None,
    work: Work | None = None,
    candidates: Candidates | None = None,
) -> FastAPI:
    """Create the application.

    Args:
        settings: Settings, read once by the caller.
        keys: Known keys; without any, every caller may do everything.
        database: The studio's database, if it is open already.
        work: Work of the jobs, instead of trainings and audits.
        candidates: Pool of service processes, instead of one of `python -m service`.
    """
    app = FastAPIOffline(
        title="Studio",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=_lifespan(settings, keys, database, work, candidates),
        redirect_slashes=False,
        redoc_url=None,  # would load a logo from another host
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.stopping = threading.Event()
    for module in (
        projects,
        uploads,
        tables,
        labels,
        versions,
        blobs,
        jobs,
        runs,
        live,
        session,
    ):
        app.include_router(module.router)
    page = WebPage(_WEB_FOLDER, policy={"worker-src": "'self'", "frame-src": "'self'"})
    app.routes.extend(page.routes())
    for address in ("/projects/{path:path}", "/live"):
        app.routes.append(Route(address, page.home, include_in_schema=False))
    app.add_api_route("/livez", _livez, include_in_schema=False)
    complete_openapi(app)
    for kind in (FacemaskError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_error)
    # From the innermost to the outermost.
    app.add_middleware(HeadMiddleware)
    app.add_middleware(SecurityMiddleware)
    app.add_middleware(RequestMiddleware)
    return app


def open_work(settings: Settings, database: Database) -> StudioWork:
    """Return the work of the jobs of a data folder."""
    blobs_, versions_ = BlobStore(settings.data), VersionStore(settings.data)
    return StudioWork(database, blobs_, versions_, settings.store)


def session_secret(folder: Path) -> bytes:
    """Return the secret that signs session cookies, made once per data folder.

    Raises:
        OSError: It cannot be read or written.
    """
    path = folder / _SESSIONS_FILE
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) == _SECRET_BYTES:
            return secret
        path.unlink()  # truncated by a crash
        return session_secret(folder)
    with open(handle, "wb") as file:
        secret = secrets.token_bytes(_SECRET_BYTES)
        file.write(secret)
    return secret


async def _livez() -> dict[str, str]:
    return {"status": "ok"}


def _lifespan(
    settings: Settings,
    keys: Sequence[Key],
    database: Database | None,
    work: Work | None,
    candidates: Candidates | None,
) -> Lifespan:
    """Return the context that the application runs in: its state and background tasks."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.data.mkdir(parents=True, exist_ok=True)
        if database is None:
            opened = await asyncio.to_thread(open_database, settings.database_url)
        else:
            opened = database
        supervisor = Supervisor(opened, settings.data / JOBS, work or open_work(settings, opened))
        keeper = candidates or Candidates(settings.store, idle_s=settings.candidate_idle_s)
        app.state.database = opened
        app.state.blobs = BlobStore(settings.data)
        app.state.blobs.clean_up()
        app.state.versions = VersionStore(settings.data)
        app.state.studio = State(
            settings=settings,
            database=opened,
            keys=tuple(keys),
            session_secret=session_secret(settings.data),
            supervisor=supervisor,
            candidates=keeper,
        )
        try:
            await asyncio.to_thread(delete_files, opened, app.state.blobs)
        except (OSError, StudioError) as error:
            log.warning("files of removed projects cannot be deleted: %s", error)
        supervisor.start()
        task = asyncio.create_task(keeper.run())
        try:
            yield
        finally:
            app.state.stopping.set()
            task.cancel()
            await asyncio.wait([task])
            await keeper.close()
            left = await asyncio.to_thread(supervisor.stop)
            if left is not None:
                log.info("job %s goes on by itself; the next start follows it again", left.id)
            app.state.blobs.close()
            if database is None:
                opened.close()

    return lifespan
