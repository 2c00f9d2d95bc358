"""OpenTelemetry traces, where its packages are installed (`facemask[tracing]`)."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("facemask")


def make_tracer_provider(endpoint: str) -> "TracerProvider | None":
    """Send a span a request to a collector, by OTLP over HTTP.

    Args:
        endpoint: Where, as http://host:4318/v1/traces; empty for nowhere.
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


Ended = Callable[[str, dict[str, str | int]], None]


def start_span(provider: "TracerProvider | None", scope: Scope) -> Ended:
    """Begin a request's span, below its caller's; what is returned ends it with name and facts."""
    if provider is None:
        return lambda name, facts: None
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    span = provider.get_tracer("facemask").start_span(
        "request",
        context=TraceContextTextMapPropagator().extract(dict(Headers(scope=scope))),
        kind=SpanKind.SERVER,
    )

    def end(name: str, facts: dict[str, str | int]) -> None:
        span.update_name(name)
        span.set_attributes(facts)
        if int(facts["http.response.status_code"]) >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    return end
