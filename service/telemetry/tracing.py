"""OpenTelemetry traces, if its packages are installed (`facemask[tracing]`)."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("facemask")


def make_tracer_provider(endpoint: str) -> "TracerProvider | None":
    """Return a provider that sends spans to a collector, by OTLP over HTTP.

    Args:
        endpoint: URL such as http://host:4318/v1/traces; empty for no traces.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("FACEMASK_TRACES is set, but OpenTelemetry is not installed: no traces")
        return None
    provider = TracerProvider(resource=Resource({"service.name": "facemask"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=2)))
    return provider


EndSpan = Callable[[str, dict[str, str | int]], None]
"""Ends a span, given its name and attributes."""


def start_span(provider: "TracerProvider | None", scope: Scope) -> EndSpan:
    """Start the span of a request, as a child of its caller's, and return a function to end it."""
    if provider is None:
        return lambda name, attributes: None
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    span = provider.get_tracer("facemask").start_span(
        "request",
        context=TraceContextTextMapPropagator().extract(dict(Headers(scope=scope))),
        kind=SpanKind.SERVER,
    )

    def end(name: str, attributes: dict[str, str | int]) -> None:
        span.update_name(name)
        span.set_attributes(attributes)
        if int(attributes["http.response.status_code"]) >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    return end
