"""Log lines, traces, and one answer to whatever goes wrong."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.telemetry import tracing
from service.telemetry.logging import ConsoleFormatter, JsonFormatter
from tests.service.fixtures import (
    GatedModel,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


def access(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "facemask.access"]


def test_each_request_has_one_line_that_says_nothing_of_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    caplog.set_level(logging.INFO)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            headers = {"x-request-id": "id-1"}
            await client.post("/predict?name=secret", files=files_of(7, 8), headers=headers)
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
    assert (second["route"], second["status"], second["code"]) == ("other", 404, "not_found")
    told = [ConsoleFormatter().format(record) for record in access(caplog)]
    assert "request_id=id-1 method=POST route=/predict status=200" in "\n".join(told)
    assert "secret" not in "\n".join(told)
    assert "7.png" not in "\n".join(told)


def test_an_unexpected_error_is_answered_and_logged_once(
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


def test_a_span_a_request_hangs_below_the_caller_s(tmp_path: Path) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine, provider=provider) as (client, _):
            trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
            await client.post("/predict", files=files_of(1, 2), headers={"traceparent": trace})
            model.failure = ValueError()
            await client.post("/predict", files=files_of(1))

    wait(scene())
    good, bad = spans.get_finished_spans()
    assert good.name == "POST /predict"
    assert good.context is not None
    assert good.context.trace_id == int("a" * 32, 16)
    assert good.parent is not None
    assert good.parent.span_id == int("b" * 16, 16)
    assert good.attributes is not None
    assert good.attributes["http.route"] == "/predict"
    assert good.attributes["http.response.status_code"] == 200
    assert good.attributes["facemask.pictures"] == 2
    assert bad.parent is None
    assert (good.status.is_ok, bad.status.is_ok) == (True, False)


def test_without_an_endpoint_or_packages_there_are_no_traces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert tracing.make_tracer_provider("") is None
    assert not caplog.records
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing.make_tracer_provider("http://127.0.0.1:1/v1/traces") is None
    assert "not installed" in caplog.text


def test_a_collector_that_does_not_answer_holds_up_neither_start_nor_stop(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = settings_of(tmp_path, traces="http://127.0.0.1:1/v1/traces")
        async with serving(settings) as (client, _):
            assert (await client.get("/livez")).status_code == 200

    wait(scene())


def test_json_lines_are_json_with_their_moment() -> None:
    record = logging.LogRecord("facemask", logging.WARNING, "x", 1, "%s ünï", ("a",), None)
    record.created, record.msecs = 1_800_000_000.25, 250.0
    assert json.loads(JsonFormatter().format(record)) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "facemask",
        "message": "a ünï",
    }
