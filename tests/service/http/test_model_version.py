"""Tests of `service.http.model_version`."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.process import binary_request
from service.http.kserve.schema import HEADER_LENGTH
from tests.service.fixtures import (
    code_picture,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)

OLDER, NEWER = "20000101T000000Z-ffffffff", "99991231T235959Z-00000000"


def _ask(store: Path, *headers: dict[str, str]) -> list[httpx.Response]:
    """Return the answers of both protocols to requests with these headers."""
    engine = make_engine(publish_bundle(store))
    json_part, pictures = binary_request([code_picture(5)])

    async def scene() -> list[httpx.Response]:
        answers = []
        async with serving(settings_of(store), engine) as (client, _):
            for extra in headers:
                answers.append(await client.post("/predict", files=files_of(5), headers=extra))
                length = {HEADER_LENGTH: str(len(json_part))}
                answers.append(
                    await client.post(
                        "/v2/models/facemask/infer",
                        content=json_part + pictures,
                        headers=extra | length,
                    )
                )
        return answers

    return wait(scene())


def test_answer_names_its_model(tmp_path: Path) -> None:
    predicted, inferred = _ask(tmp_path, {})
    version = predicted.json()["model"]["version"]
    assert predicted.headers["x-model-version"] == version
    assert inferred.headers["x-model-version"] == version
    assert version.encode() in inferred.content


def test_older_model_than_asked_for_does_not_answer(tmp_path: Path) -> None:
    answers = _ask(tmp_path, {"x-min-model-version": NEWER})
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["code"] == "model_behind"
        assert answer.headers["retry-after"] == "1"


def test_same_and_newer_models_answer(tmp_path: Path) -> None:
    (first, _) = _ask(tmp_path, {})
    same = {"x-min-model-version": first.headers["x-model-version"]}
    answers = _ask(tmp_path, same, {"x-min-model-version": OLDER})
    assert [answer.status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize("version", ["", "latest", NEWER + "0", "é"])
def test_header_that_names_no_version_is_refused(tmp_path: Path, version: str) -> None:
    header: Any = {"x-min-model-version": version.encode()}
    for answer in _ask(tmp_path, header):
        assert answer.status_code == 400
        assert answer.json()["code"] == "bad_query"
        assert "X-Min-Model-Version" in answer.json()["detail"]
