"""Who may send what: hosts, origins, keys, roles, sessions, and the audit log."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from studio.app import session_secret
from studio.database.tables import audit_log
from studio.http.middleware import needed_role
from studio.http.session import COOKIE, cookie_of, find_actor
from studio.keys import Role, new_key
from tests.studio.http.serving import HOST, PAGE, serving, settings_of

LOOK, LOOK_KEY = new_key("lea", Role.LOOK)
LABEL, LABEL_KEY = new_key("ann", Role.LABEL)
PROMOTE, PROMOTE_KEY = new_key("ben", Role.PROMOTE)
KEYS = (LOOK_KEY, LABEL_KEY, PROMOTE_KEY)

Scene = Callable[[httpx.AsyncClient, FastAPI], Awaitable[Any]]


def play(tmp_path: Path, scene: Scene, *, keys: Any = (), **options: Any) -> Any:
    settings = settings_of(tmp_path, **options.pop("settings", {}))

    async def run() -> Any:
        async with serving(settings, keys, **options) as (client, app):
            return await scene(client, app)

    return asyncio.run(run())


def make(client: httpx.AsyncClient, **options: Any) -> Coroutine[Any, Any, httpx.Response]:
    return client.post("/api/projects", json={"name": "masks"}, **options)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "cross_site"),  # any form or link of another site
        ({"X-Requested-With": "XMLHttpRequest"}, "cross_site"),
        (PAGE | {"Origin": "http://evil.example"}, "cross_site"),
        (PAGE | {"Origin": "http://127.0.0.1:8000"}, "cross_site"),  # the service's page
        (PAGE | {"Origin": "null"}, "cross_site"),  # a sandboxed frame
        (PAGE | {"Sec-Fetch-Site": "cross-site"}, "cross_site"),
        (PAGE | {"Sec-Fetch-Site": "same-site"}, "cross_site"),
        (PAGE | {"Host": "evil.example:8001", "Origin": "http://evil.example:8001"}, "wrong_host"),
        (PAGE | {"Host": "127.0.0.1.evil.example"}, "wrong_host"),
        (PAGE | {"Host": ""}, "wrong_host"),
    ],
)
def test_change_from_elsewhere_is_refused(
    headers: dict[str, str], code: str, tmp_path: Path
) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        refused = await make(client)
        assert refused.status_code in (403, 421)
        assert refused.json()["code"] == code
        assert refused.headers["content-type"] == "application/problem+json"
        listed = await client.get("/api/projects", headers=PAGE | {"Host": HOST})
        assert listed.json()["projects"] == []

    play(tmp_path, scene, headers=headers)


@pytest.mark.parametrize("host", [HOST, "localhost:8001", "[::1]:8001"])
def test_change_of_the_page_and_of_a_program_is_made(host: str, tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        assert (await make(client)).status_code == 201

    play(tmp_path, scene, headers={"X-Requested-With": "studio", "Host": host})


def test_pages_of_other_sites_cannot_read_or_embed(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        read = await client.get("/api/projects", headers={"Sec-Fetch-Site": "cross-site"})
        assert read.json()["code"] == "cross_site"
        own = await client.get("/api/projects")
        assert own.headers["cross-origin-resource-policy"] == "same-origin"
        assert own.headers["x-content-type-options"] == "nosniff"
        assert own.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert "access-control-allow-origin" not in own.headers
        page = await client.get("/")
        policy = page.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-frame-options"] == "DENY"

    play(tmp_path, scene)


def test_name_of_another_site_is_refused_even_for_the_page(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        for path in ("/", "/api/projects", "/openapi.json"):
            assert (await client.get(path)).json()["code"] == "wrong_host"
        assert (await client.get("/livez")).status_code == 200

    play(tmp_path, scene, headers=PAGE | {"Host": "rebound.example"})


def test_allowed_hosts_are_answered(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        assert (await make(client)).status_code == 201

    host = "studio.example.org"
    headers = PAGE | {"Host": host, "Origin": f"https://{host}"}
    play(tmp_path, scene, headers=headers, settings={"allowed_hosts": f"other, {host}"})


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/api/projects", Role.LOOK),
        ("HEAD", "/api/jobs/3/events", Role.LOOK),
        ("POST", "/api/live/predict", Role.LOOK),
        ("POST", "/api/projects/1/decisions", Role.LABEL),
        ("POST", "/api/projects/1/jobs", Role.LABEL),
        ("PATCH", "/api/projects/1", Role.LABEL),
        ("POST", "/api/anything/new", Role.LABEL),
        ("DELETE", "/api/projects/1", Role.PROMOTE),
        ("POST", "/api/live/promote", Role.PROMOTE),
        ("POST", "/api/live/rollback", Role.PROMOTE),
    ],
)
def test_needed_role(method: str, path: str, role: Role) -> None:
    assert needed_role(method, path) is role


@pytest.mark.parametrize(
    ("key", "method", "path", "status"),
    [
        (None, "GET", "/api/projects", 401),
        ("wrong", "GET", "/api/projects", 401),
        (LOOK, "GET", "/api/projects", 200),
        (LOOK, "POST", "/api/projects", 403),
        (LABEL, "POST", "/api/projects", 201),
        (LABEL, "POST", "/api/live/rollback", 403),
        (PROMOTE, "POST", "/api/live/rollback", 409),  # there is nothing to roll back to
        (None, "GET", "/", 200),  # the page itself holds no data
    ],
    ids=lambda value: "key" if value in (LOOK, LABEL, PROMOTE) else None,  # keys are random
)
@pytest.mark.parametrize("form", ["Authorization", "X-API-Key"])
def test_keys_and_roles(
    key: str | None, method: str, path: str, status: int, form: str, tmp_path: Path
) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        headers = {}
        if key is not None:
            headers = {form: key if form == "X-API-Key" else f"Bearer {key}"}
        body = {"name": "masks"} if path == "/api/projects" else {}
        answer = await client.request(
            method, path, headers=headers, json=None if method == "GET" else body
        )
        assert answer.status_code == status, answer.text
        if status == 403:
            assert "needs the role" in answer.json()["detail"]

    play(tmp_path, scene, keys=KEYS)


def test_session_of_a_browser(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        found = (await client.get("/api/session")).json()
        limits = found.pop("limits")
        assert found == {"name": None, "role": None, "keys": True}
        assert limits["file_bytes"] == app.state.studio.settings.max_file_bytes
        assert limits["name_chars"] == 200
        assert (await client.post("/api/session", json={"key": "no"})).status_code == 401
        signed = await client.post("/api/session", json={"key": LABEL})
        assert signed.json() == {"name": "ann", "role": "label", "keys": True}
        cookie = signed.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert LABEL not in cookie
        assert (await make(client)).status_code == 201
        assert (await client.get("/api/session")).json()["name"] == "ann"
        # A cookie is no key for a page of another site.
        other = await client.get("/api/projects", headers={"Sec-Fetch-Site": "cross-site"})
        assert other.status_code == 403
        await client.delete("/api/session")
        client.cookies.clear()
        assert (await client.get("/api/projects")).status_code == 401

    play(tmp_path, scene, keys=KEYS)


def test_session_ends_with_its_key_its_time_and_its_secret() -> None:
    secret = b"s" * 32
    good = cookie_of(LABEL_KEY, secret)
    assert find_actor({"cookie": f"{COOKIE}={good}"}, KEYS, secret) == LABEL_KEY.actor
    start, expires, signature = good.split(".")
    for value, keys, key in (
        (good, (LOOK_KEY,), secret),
        (good, KEYS, b"t" * 32),
        (cookie_of(LABEL_KEY, secret, now=0), KEYS, secret),
        (f"{start}.{int(expires) + 1}.{signature}", KEYS, secret),
        (f"{PROMOTE_KEY.hash[:16]}.{expires}.{signature}", KEYS, secret),
        ("x", KEYS, secret),
        ("..", KEYS, secret),
    ):
        assert find_actor({"cookie": f"{COOKIE}={value}"}, keys, key) is None


def test_secret_of_sessions_is_kept_unless_a_crash_truncated_it(tmp_path: Path) -> None:
    first = session_secret(tmp_path)
    assert session_secret(tmp_path) == first
    (file,) = tmp_path.iterdir()
    file.write_bytes(first[:5])
    second = session_secret(tmp_path)
    assert len(second) == len(first)
    assert second != first
    assert session_secret(tmp_path) == second


def test_cookie_is_secure_behind_tls(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        headers = {"Origin": f"https://{HOST}"}
        signed = await client.post("/api/session", json={"key": LABEL}, headers=headers)
        assert "Secure" in signed.headers["set-cookie"]

    play(tmp_path, scene, keys=KEYS)


def rows_of(app: FastAPI) -> list[Any]:
    with app.state.database.read() as connection:
        return list(connection.execute(select(audit_log).order_by(audit_log.c.id)))


def test_audit_log_has_each_change_and_nothing_else(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        named = {"X-Studio-Name": "J%C3%BCrgen"}
        made = await make(client, headers=named | {"X-Request-ID": "request-7"})
        project = made.json()["id"]
        assert (await make(client)).status_code == 409  # taken
        await client.get("/api/projects")
        await client.post(f"/api/projects/{project}/plan", json={"paths": ["a/b.jpg"]})
        await client.patch(f"/api/projects/{project}", json={"name": "faces"})
        rows = [(row.by, row.role, row.action, row.project, row.request_id) for row in rows_of(app)]
        assert rows[0] == ("Jürgen", "promote", "POST /api/projects", None, "request-7")
        assert rows[1][2:4] == ("PATCH /api/projects/{project}", project)
        assert len(rows) == 2

    play(tmp_path, scene)


def test_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        announced = await client.post("/api/projects", content=b"x" * 2000)
        assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")

        async def stream() -> Any:
            for _ in range(20):
                yield b" " * 100

        streamed = await client.post(
            "/api/projects", content=stream(), headers={"Content-Type": "application/json"}
        )
        assert (streamed.status_code, streamed.json()["code"]) == (413, "body_too_large")

    play(tmp_path, scene, settings={"max_body_bytes": 1000})


@pytest.mark.parametrize(
    ("body", "detail"), [(b"{", "JSON"), (b"{}", "name"), (b'{"name": 3}', "name"), (b"[]", "body")]
)
def test_invalid_body_is_one_sentence(body: bytes, detail: str, tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/api/projects", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
        assert detail.lower() in answer.json()["detail"].lower()

    play(tmp_path, scene)


def test_unknown_path_and_unexpected_error_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        missing = await client.get("/api/nothing")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")

        def broken(*_: object) -> None:
            raise RuntimeError("the secret")

        monkeypatch.setattr(app.state.database, "read", broken)
        failed = await client.get("/api/projects")
        assert (failed.status_code, failed.json()["code"]) == (500, "internal_error")
        assert "secret" not in failed.text
        assert failed.headers["x-request-id"] == failed.json()["request_id"]

    play(tmp_path, scene)
