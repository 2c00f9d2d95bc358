"""Limits on connections: their number, the size of headers, and timeouts.

uvicorn has no timeout for headers, for an unread body, or for a client that does not read its
answer; and its parser buffers a header of any size. Here each of these has a limit:

    opened --header_s--> all headers --> request, answered --idle_s--> closed
                                             `--body_s--> aborted, if the answer is not read

The timeout of a body that is read is in `service.http.uploads`.

uvicorn also loses the body of a request that offers an upgrade, and the answer to a client that
has closed its sending side; both are answered here.
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from models.problems import MEDIA_TYPE, problem_document
from service.problems import (
    BadRequest,
    HeaderTooLarge,
    ServiceError,
    SlowRequest,
    TooManyConnections,
)
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.request_id import new_request_id

log = logging.getLogger("facemask.access")

# Requests that wait for the one before them on their connection; each takes some memory.
_MAX_PIPELINED_REQUESTS: Final = 32


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of connections; named as their settings are."""

    max_connections: int
    max_header_bytes: int
    header_s: float
    body_s: float

    @classmethod
    def from_settings(cls, settings: Settings) -> "ConnectionLimits":
        """Return the limits that the settings set."""
        return cls(
            settings.max_connections, settings.max_header_bytes, settings.header_s, settings.body_s
        )


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection: uvicorn's protocol, within limits."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._header_timer: asyncio.TimerHandle | None = None  # until all headers are there
        self._abort_timer: asyncio.TimerHandle | None = None  # until the answer is read
        # Header and framing bytes of the current message, minus the bytes of its body: chunks
        # have a frame, and a chunked body may end in headers.
        self._overhead_bytes = 0
        self._in_headers = False
        self._offers_upgrade = False  # the current request, until it is parsed without its offer
        self._input_ended = False
        self._error: ServiceError | None = None
        # From the application's lifespan.
        self._metrics: Metrics = self.app_state["metrics"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._metrics.record_connections(len(self.connections))
        if len(self.connections) > self._limits.max_connections:
            limit = self._limits.max_connections
            self._refuse(TooManyConnections(f"{limit:,} connections are open: come again."))
            return
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._metrics.record_connections(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._overhead_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            msg = "Invalid HTTP request received."
            self.logger.warning(msg)
            self.send_400_response(msg)
        if self.transport.is_closing():
            return
        if self._overhead_bytes > self._limits.max_header_bytes:
            self._refuse(self._header_too_large())
        elif self._header_timer is None and self._is_idle():
            self._start_header_timer()  # also for the rest of an unread body

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that stopped sending until it has its answers.

        A client may close its side after a whole request (RFC 9112, 9.6).
        """
        self._input_ended = True
        if self._is_idle():
            return False
        if self.cycle.more_body:  # the rest of this request never comes
            if not self.pipeline:
                return False
            self.pipeline.popleft()
        return True

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if self._input_ended and was_last and not self.transport.is_closing():
            self.transport.close()
            self._start_abort_timer()

    def _parse(self, data: bytes) -> None:
        """Parse data; decline each offer to upgrade the connection, and go on with HTTP/1.1.

        A server may ignore such an offer (RFC 9110, 7.8), but the parser takes the bytes behind
        the headers for another protocol. A new parser therefore gets the headers without the
        offer, and then these bytes.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                head = self._head_without_offer()
                self._offers_upgrade = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
                rest = memoryview(rest)[upgrade.args[0] :]

    def _head_without_offer(self) -> bytes:
        """Return the current request's line and headers, without `Upgrade`."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._overhead_bytes = 0

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_header_bytes:
            self._error = self._header_too_large()
        elif len(self.pipeline) >= _MAX_PIPELINED_REQUESTS:
            self._error = BadRequest("Too many requests were sent without waiting for answers.")
        elif self.parser.should_upgrade():
            if self.parser.get_method() != b"CONNECT":
                self._offers_upgrade = True
                return
            self._error = BadRequest("The service is not a proxy: it does not accept CONNECT.")
        if self._error is not None:
            raise self._error  # ends the parsing, and returns in `send_400_response`
        self._stop_header_timer()
        self._in_headers = False
        self._overhead_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead_bytes -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._offers_upgrade:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._error or BadRequest(msg))

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._start_abort_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_abort_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._abort_timer is not None and not self.transport.is_closing():
            self._abort_timer.cancel()
            self._abort_timer = None

    def _is_idle(self) -> bool:
        """Return True if every request so far has been answered."""
        return self.cycle is None or self.cycle.response_complete

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(self._limits.header_s, self._headers_too_slow)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_too_slow(self) -> None:
        self._header_timer = None
        seconds = self._limits.header_s
        self._refuse(SlowRequest(f"The request's headers did not come within {seconds:g} s."))

    def _header_too_large(self) -> HeaderTooLarge:
        limit = self._limits.max_header_bytes
        return HeaderTooLarge(f"The request's line and headers may have {limit:,} bytes.")

    def _refuse(self, error: ServiceError) -> None:
        """Close the connection; answer first unless a body or an answer is in progress."""
        self._stop_header_timer()
        if self.transport.is_closing():
            return
        if self.cycle is None or (self.cycle.response_complete and self._in_headers):
            request_id, status = new_request_id(), error.status
            self.transport.write(problem_response_bytes(error, request_id))
            fields = {"request_id": request_id, "status": int(status), "code": error.code}
            log.info("connection", extra=fields)
            self._metrics.record_refused_connection(error.code)
        self.transport.close()
        self._start_abort_timer()

    def _start_abort_timer(self) -> None:
        """Abort the connection after `body_s` unless the client reads the rest of its answer."""
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(self._limits.body_s, self.transport.abort)


def problem_response_bytes(error: ServiceError, request_id: str) -> bytes:
    """Return an error as a complete HTTP response, for a connection without a request."""
    body = json.dumps(problem_document(error.status, error.code, str(error), request_id)).encode()
    retry = f"Retry-After: {error.retry_after_s}\r\n" if error.retry_after_s else ""
    head = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n{retry}"
    head += f"X-Request-ID: {request_id}\r\n"
    return STATUS_LINE[error.status] + f"{head}Connection: close\r\n\r\n".encode() + body
