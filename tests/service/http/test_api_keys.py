"""Who may call, from which page, and under which name."""

import re
from pathlib import Path

import httpx
import pytest

from service.keys import hash_of, main
from tests.service.fixtures import files_of, make_engine, publish_bundle, serving, settings_of, wait

KEYS = ("key-one", "key-two")
HASHES = ",".join(hash_of(key) for key in KEYS)


def asked(tmp_path: Path, headers: dict[str, str], path: str = "/predict") -> httpx.Response:
    engine = make_engine(publish_bundle(tmp_path, documents={"report.html": b"<p>x"}))

    async def scene() -> httpx.Response:
        async with serving(settings_of(tmp_path, api_keys=HASHES), engine) as (client, _):
            if path == "/predict":
                return await client.post(path, files=files_of(5), headers=headers)
            return await client.get(path, headers=headers)

    return wait(scene())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", ["/predict", "/report"])
@pytest.mark.parametrize("form", ["Bearer", "bearer", "X-API-Key"])
def test_a_known_key_is_let_in(key: str, path: str, form: str, tmp_path: Path) -> None:
    headers = {form: key} if form == "X-API-Key" else {"Authorization": f"{form} {key}"}
    assert asked(tmp_path, headers, path).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/report"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key_required"),
        ({"Authorization": "Basic a2V5LW9uZQ=="}, "key_required"),
        ({"Authorization": "Bearer "}, "key_required"),
        ({"Authorization": "Bearer key-three"}, "key_refused"),
        ({"Authorization": f"Bearer {hash_of('key-one')}"}, "key_refused"),
        ({"X-API-Key": "key-on"}, "key_refused"),
    ],
)
def test_without_a_known_key_nothing_is_answered(
    path: str, headers: dict[str, str], code: str, tmp_path: Path
) -> None:
    response = asked(tmp_path, headers, path)
    assert response.status_code == 401
    assert response.json()["code"] == code
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/metrics", "/docs"])
def test_what_answers_no_pictures_stays_open(path: str, tmp_path: Path) -> None:
    assert asked(tmp_path, {}, path).status_code == 200


def test_the_documentation_has_the_schemes_where_keys_are_set(tmp_path: Path) -> None:
    document = asked(tmp_path, {}, "/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    keyed = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if operation.get("security") == [{"bearer": []}, {"key": []}]
        and "401" in operation["responses"]
    }
    assert {"/predict", "/report"} <= keyed
    assert not keyed & {"/health", "/livez", "/readyz", "/metrics"}


def test_a_new_key_fits_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    key, found = re.findall(r": (\S+)$", capsys.readouterr().out, re.M)
    assert len(key) >= 43
    assert hash_of(key) == found
    main()
    assert key not in capsys.readouterr().out


# --- names and pages -----------------------------------------------------------------------


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
def test_only_the_service_s_own_names_are_answered(host: str, status: int, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, allowed_hosts="api.example.org, *.example.net,[::1]")

    async def scene() -> None:
        async with serving(settings) as (client, _):
            response = await client.get("/docs", headers={"host": host})
            assert response.status_code == status
            if status == 421:
                assert response.json()["code"] == "wrong_host"
            assert (await client.get("/livez", headers={"host": host})).status_code == 200

    wait(scene())


def test_other_pages_may_call_only_if_they_are_named(tmp_path: Path) -> None:
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


def test_pages_keep_to_themselves(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            page = await client.get("/docs")
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert (await client.get("/health")).headers["x-content-type-options"] == "nosniff"

    wait(scene())
