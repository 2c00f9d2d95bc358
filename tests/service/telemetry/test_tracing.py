"""OpenTelemetry traces of requests."""

import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.telemetry import tracing
from tests.service.fixtures import (
    GatedModel,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


def test_request_span_is_a_child_of_the_callers_span(tmp_path: Path) -> None:
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


def test_make_tracer_provider_returns_none_without_endpoint_or_packages(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert tracing.make_tracer_provider("") is None
    assert not caplog.records
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing.make_tracer_provider("http://127.0.0.1:1/v1/traces") is None
    assert "not installed" in caplog.text


def test_unreachable_collector_delays_neither_start_nor_stop(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = settings_of(tmp_path, traces="http://127.0.0.1:1/v1/traces")
        async with serving(settings) as (client, _):
            assert (await client.get("/livez")).status_code == 200

    wait(scene())
