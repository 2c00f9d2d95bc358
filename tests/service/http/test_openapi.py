"""The OpenAPI document: valid, true to the answers, on pages that load from the service only."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from models.bundle.manifest import VERSION_PATTERN
from service.app import create_app
from service.http.openapi.schemas import PREDICT_EXAMPLES, PredictAnswer
from tests.service.fixtures import (
    GatedModel,
    code_picture,
    documented,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


@pytest.fixture(scope="module", name="document")
def _document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    async def scene() -> dict[str, Any]:
        async with serving(settings_of(tmp_path_factory.mktemp("store"))) as (client, _):
            response = await client.get("/openapi.json")
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found

    return wait(scene())


def test_document_is_valid_openapi_with_all_paths(document: dict[str, Any]) -> None:
    validate(document)
    assert set(document["paths"]) == {
        "/predict",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/report",
        "/model-card",
        "/examples/{index}",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}",
        "/v2/models/{model}/versions/{version}/ready",
        "/v2/models/{model}/versions/{version}/infer",
    }


def test_predict_body_is_documented_as_files(document: dict[str, Any]) -> None:
    body = document["paths"]["/predict"]["post"]["requestBody"]
    assert body["required"] is True
    files = body["content"]["multipart/form-data"]["schema"]["properties"]["files"]
    assert files["type"] == "array"
    assert files["items"] == {"type": "string", "format": "binary"}
    raw = {name: media for name, media in body["content"].items() if name.startswith("image/")}
    assert "image/jpeg" in raw
    assert {media["schema"]["format"] for media in raw.values()} == {"binary"}


def test_predict_accepts_each_documented_content_type(
    document: dict[str, Any], tmp_path: Path
) -> None:
    kinds = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            for kind in kinds:
                response = await (
                    client.post("/predict", files=files_of(1))
                    if kind == "multipart/form-data"
                    else client.post(
                        "/predict", content=code_picture(1), headers={"content-type": kind}
                    )
                )
                assert response.status_code == 200, kind

    wait(scene())
    assert len(kinds) > 5


def test_predict_examples_match_the_schema_and_are_shown(document: dict[str, Any]) -> None:
    answer = document["paths"]["/predict"]["post"]["responses"]["200"]
    assert answer["content"]["application/json"]["examples"] == PREDICT_EXAMPLES
    for example in PREDICT_EXAMPLES.values():
        value = example["value"]
        assert PredictAnswer.model_validate(value).model_dump(exclude_unset=True) == value


def test_predict_parameters_are_documented(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/predict"]["post"]["parameters"]
    schemas = {one["name"]: one["schema"] for one in parameters}
    assert schemas == {
        "explain": {"type": "boolean", "default": False},
        "faces": {"type": "boolean", "default": False},
        "framing": {"enum": ["auto", "whole"], "default": "auto"},
        "threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "X-Min-Model-Version": {"type": "string", "pattern": VERSION_PATTERN},
    }
    for one in parameters:
        place = "header" if one["name"].startswith("X-") else "query"
        assert (one["in"], one["required"]) == (place, False)


def test_predict_errors_are_documented_as_problem_documents(document: dict[str, Any]) -> None:
    answers = document["paths"]["/predict"]["post"]["responses"]
    assert set(answers) == {
        "200", "400", "408", "413", "415", "422", "429", "431", "500", "501", "503", "504"
    }  # fmt: skip
    for status, answer in answers.items():
        assert answer["description"]
        if status != "200":
            (media,) = answer["content"].items()
            assert media[0] == "application/problem+json"
            assert media[1]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert set(document["components"]["schemas"]["Problem"]["properties"]) == {
        "type", "title", "status", "detail", "code", "request_id"
    }  # fmt: skip
    assert set(document["paths"]["/health"]["get"]["responses"]) == {"200", "503"}


@pytest.mark.parametrize(
    ("status", "media_type"), [(418, "application/problem+json"), (400, "application/json")]
)
def test_documented_fails_for_an_undocumented_answer(
    status: int, media_type: str, tmp_path: Path
) -> None:
    request = httpx.Request("POST", "http://service/predict")
    response = httpx.Response(status, headers={"content-type": media_type}, request=request)
    with pytest.raises(AssertionError):
        documented(create_app(settings_of(tmp_path)), response)


def test_predict_statuses_are_documented(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    seen = set()

    async def scene() -> None:
        # The client itself compares each answer with the schema.
        settings = settings_of(tmp_path, max_files=2, deadline_s=5)
        async with serving(settings, engine) as (client, _):
            torn = {"files": code_picture(1)[:60]}
            for files in (files_of(1), files_of(1, 2, 3), {"files": b""}, {"files": b"?"}, torn):
                seen.add((await client.post("/predict", files=files)).status_code)
            model.failure = ValueError()
            seen.add((await client.post("/predict", files=files_of(1))).status_code)
        async with serving(settings_of(tmp_path / "none")) as (client, _):
            seen.add((await client.post("/predict", files=files_of(1))).status_code)
            seen.add((await client.get("/health")).status_code)

    wait(scene())
    assert seen == {200, 400, 413, 415, 422, 500, 503}


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_documentation_pages_load_from_the_service_only(page: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            response = await client.get(page)
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/html")
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'self';")
            assert "http" not in policy
            assert not re.search(r"https?://(?!localhost|127\.0\.0\.1)", response.text)
            assert not re.search(r"""(src|href|url)\s*[=:(]\s*["']?//""", response.text)
            wanted = set(re.findall(r"""(?:src|href)="([^"]+)""", response.text))
            assert any(path.endswith(".js") for path in wanted)
            for path in wanted:
                file = await client.get(path)
                assert file.status_code == 200, path
                assert file.content

    wait(scene())
