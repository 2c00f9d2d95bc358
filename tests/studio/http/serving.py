"""The studio's application with a client of its page, without a socket."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from studio.app import create_app
from studio.jobs.queue import Job
from studio.keys import Key
from studio.live.candidates import Candidates
from studio.settings import Settings

HOST = "127.0.0.1:8001"
PAGE = {"X-Requested-With": "studio", "Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
"""Headers of a change that the studio's page makes."""


class NoWork:
    """Jobs that wait for nothing and leave nothing."""

    def prepare(self, job: Job, folder: Path) -> Sequence[str]:
        return ["sleep", "60"]

    def finish(self, job: Job, folder: Path, finished: Mapping[str, Any]) -> dict[str, Any]:
        return {}


def settings_of(folder: Path, **changes: Any) -> Settings:
    return Settings(data=folder / "data", store=folder / "store", **changes)


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    keys: Sequence[Key] = (),
    *,
    headers: Mapping[str, str] | None = None,
    candidates: Candidates | None = None,
) -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
    """Start the application, and give a client of its page."""
    app = create_app(settings, keys, work=NoWork(), candidates=candidates)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport,
            base_url=f"http://{HOST}",
            headers=PAGE if headers is None else headers,
        ) as client:
            yield client, app
