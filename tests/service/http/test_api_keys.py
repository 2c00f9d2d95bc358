"""API keys of callers."""

from pathlib import Path

import httpx
import pytest

from service.keys import hash_of
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
def test_known_key_is_accepted(key: str, path: str, form: str, tmp_path: Path) -> None:
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
def test_missing_or_unknown_key_gets_401(
    path: str, headers: dict[str, str], code: str, tmp_path: Path
) -> None:
    response = asked(tmp_path, headers, path)
    assert response.status_code == 401
    assert response.json()["code"] == code
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/metrics", "/docs"])
def test_probes_and_documentation_need_no_key(path: str, tmp_path: Path) -> None:
    assert asked(tmp_path, {}, path).status_code == 200


def test_openapi_has_security_schemes_if_keys_are_set(tmp_path: Path) -> None:
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
