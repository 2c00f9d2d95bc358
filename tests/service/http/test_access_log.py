"""The access log, and the answer to an unexpected error."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from service.telemetry.logging import ConsoleFormatter, JsonFormatter
from tests.service.fixtures import (
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


def access(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "facemask.access"]


def test_request_logs_one_line_without_query_or_file_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    caplog.set_level(logging.INFO)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {"x-request-id": "id-1"}
            await client.post("/predict?explain=yes", files=files_of(7, 8), headers=headers)
            await client.get("/secret.jpg")
            await client.get("/livez")

    wait(scene())
    first, second = (json.loads(JsonFormatter().format(record)) for record in access(caplog))
    assert first.pop("ms") > 0
    del first["time"]
    assert first == {
        "level": "info",
        "logger": "facemask.access",
        "message": "request",
        "request_id": "id-1",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "pictures": 2,
    }
    assert (second["route"], second["status"], second["code"]) == ("unmatched", 404, "not_found")
    lines = [ConsoleFormatter().format(record) for record in access(caplog)]
    assert "request_id=id-1 method=POST route=/predict status=200" in "\n".join(lines)
    assert "secret" not in "\n".join(lines)
    assert "7.png" not in "\n".join(lines)


def test_unexpected_error_is_answered_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ValueError("the password is 1234")

    monkeypatch.setattr("service.http.predict.read_uploads", broken)
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            response = await client.post("/predict", files=files_of(1))
        assert response.status_code == 500
        assert response.json()["code"] == "internal_error"
        assert "1234" not in response.text
        assert response.headers["x-request-id"] == response.json()["request_id"]

    wait(scene())
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "the password is 1234" in json.loads(JsonFormatter().format(record))["exception"]
    assert "the password is 1234" in ConsoleFormatter().format(record)
