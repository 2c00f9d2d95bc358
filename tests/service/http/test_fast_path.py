"""The fast path of POST /predict answers as FastAPI's router does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.keys import hash_of
from service.settings import Settings
from tests.service.fixtures import (
    code_picture,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)

_KEY = "the caller's"
_REQUEST: Mapping[str, Any] = {
    "method": "POST",
    "url": "/predict",
    "files": files_of(1, 2),
    "headers": {"x-api-key": _KEY, "x-request-id": "one", "origin": "https://page.example"},
}


class _Below:
    """The application as it is when it is mounted below /below in another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        below = {**scope, "root_path": "/below", "path": "/below" + scope["path"]}
        await self._app(below, receive, send)


def _settings(store: Path) -> Settings:
    return settings_of(
        store,
        api_keys=hash_of(_KEY),
        allowed_hosts="service",
        cors_origins="https://page.example",
        max_body_bytes=10_000,
    )


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"url": "/predict?explain=true"}, 200),
        ({"url": "/predict?explain=perhaps"}, 400),
        ({"url": "/predict?explain"}, 200),
        ({"url": "/predict?explain=True"}, 200),
        ({"url": "/predict/"}, 404),
        ({"method": "HEAD", "files": None}, 405),
        ({"method": "OPTIONS", "files": None}, 405),
        ({"headers": {"x-api-key": _KEY, "content-encoding": "gzip"}}, 415),
        ({"files": [("files", ("a", b"none"))]}, 415),
        ({"files": [("note", ("a", b"none"))]}, 400),
        ({"files": None, "content": code_picture(5)}, 415),
        ({"files": [("files", ("a", b"x" * 10_001))]}, 413),
        ({"headers": {}}, 401),
        ({"headers": {"x-api-key": _KEY, "host": "another"}}, 421),
        ({"method": "GET", "files": None}, 405),
    ],
)
def test_fast_path_answers_as_the_router_does(
    tmp_path: Path, change: dict[str, Any], status: int
) -> None:
    request = {**_REQUEST, **change}
    request["headers"] = request["headers"] | {"x-request-id": "one"}  # answers hold it
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> list[httpx.Response]:
        app = create_app(_settings(tmp_path), engine)
        answers = []
        async with app.router.lifespan_context(app):
            for way in (app, _Below(app)):
                transport = httpx.ASGITransport(way)
                async with httpx.AsyncClient(transport=transport, base_url="http://service") as one:
                    answers.append(await one.request(**request))
        return answers

    direct, routed = wait(scene())
    assert direct.status_code == routed.status_code == status
    assert direct.headers == routed.headers
    assert direct.content == routed.content


def test_fast_path_bypasses_the_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    asked = []

    async def scene() -> list[int]:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            plain = APIRouter.__call__

            async def watched(self: APIRouter, scope: Scope, receive: Receive, send: Send) -> None:
                asked.append(scope["path"])
                await plain(self, scope, receive, send)

            monkeypatch.setattr(APIRouter, "__call__", watched)
            answers = [await client.post("/predict", files=files_of(1)), await client.get("/livez")]
        return [answer.status_code for answer in answers]

    assert wait(scene()) == [200, 200]
    assert "/livez" in asked
    assert "/predict" not in asked
