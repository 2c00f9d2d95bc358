"""The answers that the documentation shows are those that the service gives."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.examples import PROBLEMS
from service.schemas import PREDICT_EXAMPLES
from tests.service_fixtures import (
    GatedModel,
    code_picture,
    encoded,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)

TORN = code_picture(7)[:60]


async def provoke(client: httpx.AsyncClient, code: str) -> httpx.Response:
    """Make the request that is answered so."""
    match code:
        case "empty_picture":
            return await client.post("/predict", files={"files": b""})
        case "no_pictures":
            return await client.post("/predict", headers={"content-type": "image/png"})
        case "image_too_large":
            huge = encoded(Image.new("1", (8000, 8000)), "PNG")
            return await client.post("/predict", files={"files": huge})
        case "too_many_files":
            return await client.post("/predict", files=files_of(*range(65)))
        case "unsupported_format":
            return await client.post("/predict", files={"files": b"hello"})
        case "unsupported_media_type":
            headers = {"content-type": "text/plain"}
            return await client.post("/predict", content=b"hello", headers=headers)
        case "undecodable_image":
            return await client.post("/predict", files={"files": TORN})
        case "nothing_readable":
            files = [("files", ("torn.png", TORN)), ("files", ("a.txt", b"hello"))]
            return await client.post("/predict", files=files)
        case _:
            return await client.post("/predict", files=files_of(1))


@pytest.mark.parametrize("example", PROBLEMS, ids=[problem["code"] for problem in PROBLEMS])
def test_a_problem_is_the_service_s_own(example: dict[str, Any], tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path / "store")
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    if example["code"] == "internal_error":
        model.failure = ValueError()

    async def scene() -> httpx.Response:
        served = None if example["code"] == "no_model" else engine
        async with serving(settings_of(tmp_path / "none"), served) as (client, _):
            return await provoke(client, example["code"])

    response = wait(scene())
    assert response.status_code == example["status"]
    assert response.json() | {"request_id": example["request_id"]} == example


def test_the_answer_is_the_service_s_own(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    torn = code_picture(7, format="JPEG")[:-20]
    files = [("files", ("a.jpg", code_picture(4000))), ("files", ("torn.jpg", torn))]

    async def scene() -> dict[str, Any]:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            answer: dict[str, Any] = (await client.post("/predict", files=files)).json()
            return answer

    answer = wait(scene())
    shown, failed = answer["predictions"]
    shown["score"] = round(shown["score"], 4)
    shown["scores"] = {label: round(score, 4) for label, score in shown["scores"].items()}
    example = PREDICT_EXAMPLES["plain"]["value"]
    assert answer["model"]["labels"] == example["model"]["labels"]
    assert [shown, failed] == example["predictions"]


def test_each_problem_is_shown_with_its_response(tmp_path: Path) -> None:
    async def scene() -> dict[str, Any]:
        async with serving(settings_of(tmp_path)) as (client, _):
            document: dict[str, Any] = (await client.get("/openapi.json")).json()
            return document

    responses = wait(scene())["paths"]["/predict"]["post"]["responses"]
    for problem in PROBLEMS:
        media = responses[str(problem["status"])]["content"]["application/problem+json"]
        assert media["examples"][problem["code"]]["value"] == problem
