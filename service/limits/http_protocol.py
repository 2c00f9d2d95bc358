"""Connections: how many, how large their headers, and how long they may keep the service waiting.

The server itself waits for ever for headers, for a body that nobody reads, and for a caller to
take an answer; and its parser collects a header without end. Here each of these has a bound:

    opened --header_s--> all headers --> request, answered --idle_s--> closed
                                             `--body_s--> cut off, if the answer is not taken

The time for a body that is read is kept where it is read, in `service.limits.budget`.
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.problems import (
    MEDIA_TYPE,
    BadRequest,
    HeaderTooLarge,
    ServiceError,
    SlowRequest,
    TooManyConnections,
    document_of,
    status_of,
)
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.request_id import new_request_id

log = logging.getLogger("facemask.access")

# Requests that wait for the one before them on their connection; each has cost some memory.
_MOST_PIPELINED: Final = 32


@dataclass(frozen=True)
class Limits:
    """Of connections; as the settings of the same names."""

    max_connections: int
    max_header_bytes: int
    header_s: float
    body_s: float


def limits_of(settings: Settings) -> Limits:
    """What the settings say of connections."""
    return Limits(
        settings.max_connections, settings.max_header_bytes, settings.header_s, settings.body_s
    )


class Connection(HttpToolsProtocol):
    """One connection; uvicorn's own, within limits."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None  # until all headers are there
        self._stalled: asyncio.TimerHandle | None = None  # until the answer is taken
        # Bytes of the present message that are none of its body, less as many as its body has:
        # chunks have a frame, and a body in chunks may end in headers.
        self._beside = 0
        self._in_headers = False
        self._error: ServiceError | None = None
        # Given by the application's lifespan.
        self._metrics: Metrics = self.app_state["metrics"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._metrics.connections(len(self.connections))
        if len(self.connections) > self._limits.max_connections:
            most = self._limits.max_connections
            self._refuse(TooManyConnections(f"{most:,} connections are open: come again."))
            return
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._metrics.connections(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._beside += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._beside > self._limits.max_header_bytes:
            self._refuse(self._header_too_large())
        elif self._timer is None and self._answered():
            self._wait_for_headers()  # or for the rest of a body that nobody reads

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._beside = 0

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_header_bytes:
            self._error = self._header_too_large()
        elif len(self.pipeline) >= _MOST_PIPELINED:
            self._error = BadRequest("Too many requests were sent without waiting for answers.")
        if self._error is not None:
            raise self._error  # ends the parsing, and comes back in `send_400_response`
        self._headers_are_there()
        self._in_headers = False
        self._beside = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._beside -= 2 * len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._error or BadRequest(msg))

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._cut_off_later()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cut_off_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None and not self.transport.is_closing():
            self._stalled.cancel()
            self._stalled = None

    def _answered(self) -> bool:
        """Whether no request is in hand."""
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_headers(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_s, self._too_slow)

    def _headers_are_there(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        seconds = self._limits.header_s
        self._refuse(SlowRequest(f"The request's headers did not come within {seconds:g} s."))

    def _header_too_large(self) -> HeaderTooLarge:
        most = self._limits.max_header_bytes
        return HeaderTooLarge(f"The request's line and headers may have {most:,} bytes.")

    def _refuse(self, error: ServiceError) -> None:
        """Close, with an answer if there is something without one that has not become a request."""
        self._headers_are_there()
        if self.transport.is_closing():
            return
        if self.cycle is None or (self.cycle.response_complete and self._in_headers):
            request_id, status = new_request_id(), status_of(error)
            self.transport.write(answer_of(error, request_id))
            fields = {"request_id": request_id, "status": int(status), "code": error.code}
            log.info("connection", extra=fields)
            self._metrics.refused_connection(error.code)
        self.transport.close()
        self._cut_off_later()

    def _cut_off_later(self) -> None:
        """Let a caller who takes nothing hold what is still to be sent for some time only."""
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._limits.body_s, self.transport.abort)


def answer_of(error: ServiceError, request_id: str) -> bytes:
    """An error as a whole HTTP answer, for who has no request yet."""
    status = status_of(error)
    body = json.dumps(document_of(status, error.code, str(error), request_id)).encode()
    retry = f"Retry-After: {error.retry_after_s}\r\n" if error.retry_after_s else ""
    head = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n{retry}"
    head += f"X-Request-ID: {request_id}\r\n"
    return STATUS_LINE[status] + f"{head}Connection: close\r\n\r\n".encode() + body
