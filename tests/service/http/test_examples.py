"""The answers that the documentation shows are those that the service gives."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.http.api_keys import hash_of
from service.http.openapi import PROBLEMS
from service.http.schemas import PREDICT_EXAMPLES
from service.settings import Settings
from tests.models.imaging.costly_pictures import many_scans
from tests.service.fixtures import (
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


# Answered by the connection, before there is a request: see tests/test_connections.py.
OF_CONNECTIONS = ("header_too_large", "too_many_connections")
KEY = "a key"
SHORT_S = 0.05


async def endless() -> AsyncIterator[bytes]:
    """A body that begins and does not end."""
    yield b"x"
    await asyncio.Event().wait()


async def provoke(client: httpx.AsyncClient, code: str) -> httpx.Response:
    """Make the request that is answered so."""
    if code not in ("key_required", "key_refused"):
        client.headers["x-api-key"] = KEY
    match code:
        case "key_refused":
            return await client.post("/predict", headers={"x-api-key": "another"})
        case "wrong_host":
            return await client.post("/predict", headers={"host": "elsewhere"})
        case "slow_request":
            headers = {"content-type": "image/png"}
            return await client.post("/predict", content=endless(), headers=headers)
        case "file_too_large":
            large = bytes(32 * 2**20 + 1)
            return await client.post("/predict", files={"files": large})
        case "body_too_large":
            headers = {"content-type": "image/png", "content-length": str(64 * 2**20 + 1)}
            return await client.post("/predict", content=b"x", headers=headers)
        case "image_too_costly":
            return await client.post("/predict", files={"files": many_scans(101)})
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


@pytest.mark.parametrize(
    "example",
    [problem for problem in PROBLEMS if problem["code"] not in OF_CONNECTIONS],
    ids=lambda problem: problem["code"],
)
def test_a_problem_is_the_service_s_own(example: dict[str, Any], tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path / "store")
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    code = example["code"]
    model.failure = ValueError() if code == "internal_error" else None
    model.armed = code == "deadline_passed"
    impatience = {"slow_request": "body_s", "deadline_passed": "deadline_s"}
    short = {impatience[code]: SHORT_S} if code in impatience else {}

    async def scene() -> httpx.Response:
        settings = settings_of(
            tmp_path / "none", api_keys=hash_of(KEY), allowed_hosts="service", **short
        )
        async with serving(settings, None if code == "no_model" else engine) as (client, state):
            if code == "overloaded":
                state.admission.waiting = settings.max_waiting
            response = await provoke(client, code)
            model.gate.set()
            return response

    response = wait(scene())
    assert response.status_code == example["status"]
    found = response.json() | {"request_id": example["request_id"]}
    if short:  # the example's time is the default one
        default = Settings.model_fields[impatience[code]].default
        found["detail"] = found["detail"].replace(f"{SHORT_S:g} s", f"{default:g} s")
    assert found == example


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
    shown["distance"] = round(shown["distance"], 4)
    example = PREDICT_EXAMPLES["plain"]["value"]
    assert answer["model"]["labels"] == example["model"]["labels"]
    assert [shown, failed] == example["predictions"]


def test_each_problem_is_shown_with_its_response(tmp_path: Path) -> None:
    async def scene() -> dict[str, Any]:
        settings = settings_of(tmp_path, api_keys=hash_of(KEY), allowed_hosts="service")
        async with serving(settings) as (client, _):
            document: dict[str, Any] = (await client.get("/openapi.json")).json()
            return document

    responses = wait(scene())["paths"]["/predict"]["post"]["responses"]
    for problem in PROBLEMS:
        media = responses[str(problem["status"])]["content"]["application/problem+json"]
        assert media["examples"][problem["code"]]["value"] == problem
