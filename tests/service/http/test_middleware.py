"""Request ids, allowed hosts, CORS and security headers."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.middleware import RequestIdMiddleware
from tests.service.fixtures import (
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)
from tests.service.http.checks import bad, good


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.org", 200),
        ("API.example.org:8000", 200),
        ("a.b.example.net", 200),
        ("[::1]:8000", 200),
        ("example.net", 421),
        ("evil.org", 421),
        ("api.example.org.evil.org", 421),
        ("", 421),
    ],
)
def test_allowed_hosts_refuses_unknown_host(host: str, status: int, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, allowed_hosts="api.example.org, *.example.net,[::1]")

    async def scene() -> None:
        async with serving(settings) as (client, _):
            response = await client.get("/docs", headers={"host": host})
            assert response.status_code == status
            if status == 421:
                assert response.json()["code"] == "wrong_host"
            assert (await client.get("/livez", headers={"host": host})).status_code == 200

    wait(scene())


def test_cors_allows_configured_origins_only(tmp_path: Path) -> None:
    async def asked_from(origin: str, **values: str) -> httpx.Response:
        async with serving(settings_of(tmp_path, **values)) as (client, _):
            headers = {"origin": origin, "access-control-request-method": "POST"}
            return await client.options("/predict", headers=headers)

    async def scene() -> None:
        allow = "access-control-allow-origin"
        assert allow not in (await asked_from("https://a.org")).headers
        named = {"cors_origins": "https://a.org,https://b.org"}
        assert (await asked_from("https://a.org", **named)).headers[allow] == "https://a.org"
        assert allow not in (await asked_from("https://c.org", **named)).headers

    wait(scene())


def test_pages_have_security_headers(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            page = await client.get("/docs")
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert (await client.get("/health")).headers["x-content-type-options"] == "nosniff"

    wait(scene())


@pytest.mark.parametrize("given", ["abc", "A-1_b.c", "x" * 128])
def test_valid_request_id_is_echoed(given: str, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {"X-Request-ID": given}
            answer = good(await client.post("/predict", files=files_of(1), headers=headers))
            assert answer.request_id == given
            document = bad(await client.get("/nowhere", headers=headers), 404, "not_found")
            assert document["request_id"] == given

    wait(scene())


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\tb", "\xe4", "a,b"])
def test_invalid_request_id_is_replaced(given: str, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {b"X-Request-ID": given.encode("latin-1")}
            ids = {
                (await client.get("/health", headers=headers)).headers["x-request-id"]
                for _ in range(3)
            }
            assert len(ids) == 3
            assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)

    wait(scene())


def test_request_id_middleware_ignores_websockets() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    wait(RequestIdMiddleware(app)({"type": "websocket", "headers": []}, nothing, nothing))
    assert seen == [{"type": "websocket", "headers": []}]
