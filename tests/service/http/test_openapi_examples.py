"""The examples in the OpenAPI document are answers that the service gives."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.http.openapi.document import example_of
from service.http.openapi.schemas import PREDICT_EXAMPLES
from service.keys import hash_of
from service.problems import HeaderTooLarge, TooManyConnections, caller_errors
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


EXAMPLES = [example_of(kind) for kind in caller_errors() if kind.example]
# Answered by the connection, before there is a request: see limits/test_http_protocol.py.
OF_CONNECTIONS = (HeaderTooLarge.code, TooManyConnections.code)
KEY = "a key"
SHORT_S = 0.05


async def endless() -> AsyncIterator[bytes]:
    """Yield a body that does not end."""
    yield b"x"
    await asyncio.Event().wait()


async def provoke(client: httpx.AsyncClient, code: str) -> httpx.Response:
    """Send a request that is answered with this code."""
    if code not in ("key_required", "key_refused"):
        client.headers["x-api-key"] = KEY
    match code:
        case "key_refused":
            return await client.post("/predict", headers={"x-api-key": "another"})
        case "not_found":
            return await client.get("/report")
        case "stopping" | "stuck":
            return await client.get("/readyz")
        case "bad_query":
            return await client.post("/predict?explain=perhaps", files=files_of(1))
        case "model_behind":
            headers = {"x-min-model-version": "99991231T235959Z-00000000"}
            return await client.post("/predict", files=files_of(1), headers=headers)
        case "bad_upload":
            headers = {"content-type": "multipart/form-data; boundary=x"}
            return await client.post("/predict", content=b"no form", headers=headers)
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
    [example for example in EXAMPLES if example["code"] not in OF_CONNECTIONS],
    ids=lambda example: example["code"],
)
def test_problem_example_equals_answer(example: dict[str, Any], tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path / "store")
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    code = example["code"]
    model.failure = ValueError() if code == "internal_error" else None
    model.armed = code == "deadline_passed"
    limits = {"slow_request": "body_s", "deadline_passed": "deadline_s"}
    short = {limits[code]: SHORT_S} if code in limits else {}

    async def scene() -> httpx.Response:
        settings = settings_of(
            tmp_path / "none", api_keys=hash_of(KEY), allowed_hosts="service", **short
        )
        async with serving(settings, None if code == "no_model" else engine) as (client, state):
            if code == "overloaded":
                state.budgets.pictures.held = settings.max_waiting
            state.shutdown.requested = code == "stopping"
            if code == "stuck":
                engine.close()
                while engine.alive():
                    await asyncio.sleep(0)
            response = await provoke(client, code)
            model.gate.set()
            return response

    response = wait(scene())
    assert response.status_code == example["status"]
    found = response.json() | {"request_id": example["request_id"]}
    if short:  # the example has the default time
        default = Settings.model_fields[limits[code]].default
        found["detail"] = found["detail"].replace(f"{SHORT_S:g} s", f"{default:g} s")
    assert found == example


def test_predict_example_equals_answer(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    torn = code_picture(7, format="JPEG")[:-20]
    files = [("files", ("a.jpg", code_picture(4000))), ("files", ("torn.jpg", torn))]

    async def scene() -> dict[str, Any]:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            answer: dict[str, Any] = (await client.post("/predict", files=files)).json()
            return answer

    answer = wait(scene())
    shown, failed = answer["predictions"]
    example = PREDICT_EXAMPLES["plain"]["value"]
    assert answer["model"]["labels"] == example["model"]["labels"]
    assert answer["threshold"] == example["threshold"]
    assert [shown, failed] == example["predictions"]


def test_predict_operation_shows_each_example_of_its_errors(tmp_path: Path) -> None:
    async def scene() -> dict[str, Any]:
        settings = settings_of(tmp_path, api_keys=hash_of(KEY), allowed_hosts="service")
        async with serving(settings) as (client, _):
            document: dict[str, Any] = (await client.get("/openapi.json")).json()
            return document

    responses = wait(scene())["paths"]["/predict"]["post"]["responses"]
    shown = {
        code: example["value"]
        for response in responses.values()
        for media in response["content"].values()
        for code, example in media.get("examples", {}).items()
        if "code" in example["value"]
    }
    others = {"not_found", "stuck"}  # raised by other operations
    assert shown == {one["code"]: one for one in EXAMPLES if one["code"] not in others}
