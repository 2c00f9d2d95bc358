"""Request ids, allowed hosts, CORS and security headers."""

import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.middleware import RequestIdMiddleware
from service.keys import hash_of
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


def test_cors_allows_the_headers_and_methods_of_every_operation(tmp_path: Path) -> None:
    origin = "https://a.org"
    headers = "authorization, content-type, x-api-key, x-request-id, traceparent, tracestate"

    async def scene() -> None:
        async with serving(settings_of(tmp_path, cors_origins=origin)) as (client, _):
            for method in ("GET", "HEAD", "POST"):
                asked = {
                    "origin": origin,
                    "access-control-request-method": method,
                    "access-control-request-headers": f"{headers}, inference-header-content-length",
                }
                preflight = await client.options("/v2/models/facemask/infer", headers=asked)
                assert preflight.status_code == 200, preflight.text
            answer = await client.get("/livez", headers={"origin": origin})
            exposed = answer.headers["access-control-expose-headers"].lower()
            for name in ("x-request-id", "retry-after", "inference-header-content-length"):
                assert name in exposed

    wait(scene())


_GET_PATHS = (
    "/", "/health", "/livez", "/readyz", "/metrics", "/report", "/docs", "/redoc", "/openapi.json",
    "/page/app.js", "/page/example.jpg", "/static-offline-docs/swagger-ui.css",
    "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/facemask", "/v2/models/other",
    "/v2/models/facemask/ready", "/predict", "/v2/models/facemask/infer", "/nowhere", "/health/",
)  # fmt: skip


@pytest.mark.parametrize(
    "values", [{}, {"api_keys": hash_of("key"), "allowed_hosts": "example.org"}]
)
def test_head_is_answered_as_get_without_the_body(
    values: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(publish_bundle(tmp_path, documents={"report.html": b"<p>report"}))
    caplog.set_level(logging.DEBUG, "facemask.access")
    changing = {"/health", "/metrics"}  # times differ in length

    async def scene() -> None:
        async with serving(settings_of(tmp_path, **values), engine) as (client, _):
            for path in _GET_PATHS:
                got = await client.get(path, headers={"x-request-id": "one"})
                head = await client.head(path, headers={"x-request-id": "one"})
                assert head.content == b"", path
                assert head.status_code == got.status_code, path
                for name in set(got.headers) | set(head.headers):
                    if not (name == "content-length" and path in changing):
                        assert head.headers[name] == got.headers[name], path
                assert int(head.headers["content-length"]) > 0
                *_, of_get, of_head = caplog.records
                assert (of_get.method, of_head.method) == ("GET", "HEAD")  # type: ignore[attr-defined]
                assert of_get.route == of_head.route  # type: ignore[attr-defined]
            if not values:
                assert (await client.post("/health")).headers["allow"] == "GET, HEAD"
                operations = (await client.get("/openapi.json")).json()["paths"].values()
                assert not [methods for methods in operations if "head" in methods]

    wait(scene())


@pytest.mark.parametrize(
    "path",
    [
        "/predict/",
        "/health/",
        "/livez/",
        "/v2/",
        "/report/",
        "/docs/",
        "/metrics/",
        "/static-offline-docs",
        "/v2/models/facemask/infer/",
        "//evil.example/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_path_with_a_slash_too_many_is_answered_404(path: str, method: str, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {"host": "facemask.example.org", "x-forwarded-proto": "https"}
            answer = await client.request(method, "http://service" + path, headers=headers)
            assert answer.status_code == 404
            assert "location" not in answer.headers
            if method != "HEAD":
                document = bad(answer, 404, "not_found")
                if path.endswith("/"):
                    assert "slash" in document["detail"]

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
