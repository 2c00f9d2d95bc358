"""Connections within limits, on real sockets against the real server."""

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvloop

from service.__main__ import server_options
from service.app import create_app
from service.http.openapi.document import example_of
from service.http.openapi.schemas import Problem
from service.limits.http_protocol import problem_response_bytes
from service.problems import HeaderTooLarge, TooManyConnections
from service.settings import Settings
from tests import WAIT_S
from tests.process.running import running
from tests.service.fixtures import (
    code_of,
    code_picture,
    files_of,
    make_engine,
    publish_bundle,
    settings_of,
)

_PNG = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
_BODY_HEAD = _PNG + b"Content-Length: 100000\r\n\r\n"
_GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
_OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n",
    "tls": b"Connection: close\r\nConnection: UPGRADE\r\nUpgrade: TLS/1.0\r\nUpgrade: x/2\r\n",
}
_LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


class Scene:
    """A service with its own settings, and connections to it."""

    def __init__(self, store: Path, **values: Any) -> None:
        self._store = store
        settings = settings_of(store, **values)
        self._app = create_app(settings, make_engine(publish_bundle(store)))
        self._running = running(self._app, **server_options(settings))

    def __enter__(self) -> "Scene":
        self.address = self._running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)

    def connect(self, data: bytes = b"") -> socket.socket:
        port = int(self.address.rpartition(":")[2])
        connection = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        if data:
            connection.sendall(data)
        return connection

    def state(self) -> Any:
        return self._app.state.facemask


def until_closed(connection: socket.socket) -> bytes:
    """Return what arrives until the other side closes."""
    received = bytearray()
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:  # it closed with bytes of ours unread
            break
        if not part:
            break
        received += part
    return bytes(received)


def alive(connection: socket.socket) -> None:
    """Request /livez and read the whole answer."""
    connection.sendall(_GET)
    received = b""
    while not received.endswith(b'{"status":"ok"}'):
        part = connection.recv(65536)
        assert part, received
        received += part
    assert received.startswith(b"HTTP/1.1 200")


def picture_request(offer: bytes = b"", *, chunked: bool = False, version: bytes = b"1.1") -> bytes:
    """Return the bytes of a request that classifies the picture of code 77."""
    picture = code_picture(77)
    head = _PNG.replace(b"HTTP/1.1", b"HTTP/" + version) + offer
    if chunked:
        body = b"%x\r\n" % len(picture) + picture + b"\r\n0\r\n\r\n"
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + body
    return head + b"Content-Length: %d\r\n\r\n" % len(picture) + picture


def codes_of(answers: bytes) -> list[int]:
    """Return the codes of the pictures that a connection's answers are about."""
    assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200"), answers
    bodies = re.findall(rb'\{"model.*?"request_id[^}]*\}', answers)
    return [code_of(json.loads(body)["predictions"][0]) for body in bodies]


def problem_of(answer: bytes) -> Problem:
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert head.startswith(b"HTTP/1.1 ")
    found = Problem.model_validate(json.loads(body))
    assert found.status == int(head.split()[1])
    return found


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\nHost", b"\r\n"])
def test_missing_headers_are_answered_408_after_header_s(begun: bytes, tmp_path: Path) -> None:
    with Scene(tmp_path, header_s=0.2) as scene, scene.connect(begun) as slow:
        found = problem_of(until_closed(slow))
    assert (found.status, found.code) == (408, "slow_request")


def test_trickling_headers_are_answered_408_after_header_s(tmp_path: Path) -> None:
    with Scene(tmp_path, header_s=0.2) as scene, scene.connect(b"GET / HTTP/1.1\r\n") as slow:
        slow.settimeout(0.01)
        received = b""
        end = time.monotonic() + WAIT_S
        while not received:
            assert time.monotonic() < end
            try:
                slow.sendall(b"X: y\r\n")
                received = slow.recv(65536)
            except TimeoutError:
                continue
    assert problem_of(received).code == "slow_request"


def test_missing_body_is_answered_408_after_body_s(tmp_path: Path) -> None:
    with Scene(tmp_path, body_s=1) as scene, scene.connect(_BODY_HEAD + b"x") as slow:
        found = problem_of(until_closed(slow))
        assert scene.state().budgets.body_bytes.held == 0
    assert (found.status, found.code) == (408, "slow_request")
    assert found.request_id


def test_unread_body_is_bounded_by_header_s(tmp_path: Path) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with Scene(tmp_path, header_s=1, idle_s=600) as scene, scene.connect(head) as slow:
        assert b"404" in slow.recv(65536)
        slow.sendall(b"x")
        assert b"HTTP/1.1" not in until_closed(slow)  # it had its answer


def test_idle_connection_is_closed_without_an_answer(tmp_path: Path) -> None:
    with Scene(tmp_path, header_s=1, idle_s=2) as scene:
        for begun in (b"", b"\r\n"):
            with scene.connect() as idle:
                alive(idle)
                idle.sendall(begun)
                assert until_closed(idle) == b""


def test_header_s_does_not_apply_between_requests(tmp_path: Path) -> None:
    with Scene(tmp_path, header_s=1, idle_s=600) as scene, scene.connect() as calm:
        alive(calm)
        with scene.connect() as slow:
            until_closed(slow)  # so much time has passed
        alive(calm)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)
def test_headers_beyond_max_header_bytes_are_answered_431(sent: bytes, tmp_path: Path) -> None:
    with Scene(tmp_path, max_header_bytes=4096) as scene, scene.connect(sent) as large:
        found = problem_of(until_closed(large))
    assert (found.status, found.code) == (431, "header_too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        _PNG + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ",
        _PNG + b"Transfer-Encoding: chunked\r\n\r\n1;",
    ],
)
def test_endless_header_is_answered_431(head: bytes, tmp_path: Path) -> None:
    with Scene(tmp_path, max_header_bytes=4096) as scene, scene.connect(head) as endless:
        sent = 0
        try:
            while sent < 50_000_000:
                sent += endless.send(b"a" * 4096)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 50_000_000
        assert httpx.get(scene.address + "/livez", timeout=WAIT_S).status_code == 200


def test_body_in_small_chunks_is_accepted(tmp_path: Path) -> None:
    picture = code_picture(77)

    def parts(size: int) -> Iterator[bytes]:
        for begin in range(0, len(picture), size):
            yield picture[begin : begin + size]

    with Scene(tmp_path, max_header_bytes=256) as scene:
        headers = {"content-type": "image/png"}
        answer = httpx.post(
            scene.address + "/predict", content=parts(16), headers=headers, timeout=WAIT_S
        )
        assert code_of(answer.json()["predictions"][0]) == 77


def test_pipelined_requests_are_bounded(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, scene.connect(_GET * 3) as patient:
        received = b""
        while received.count(b"HTTP/1.1 200") < 3:
            received += patient.recv(65536)
        with scene.connect(_GET * 5000) as flood:
            assert until_closed(flood).count(b"HTTP/1.1") < 100


def test_invalid_http_is_answered_400(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene, scene.connect(b"HELO there\r\n\r\n") as other:
        found = problem_of(until_closed(other))
    assert (found.status, found.code) == (400, "bad_request")


@pytest.mark.parametrize("offer", _OFFERS)
@pytest.mark.parametrize(
    "options", [{}, {"chunked": True}, {"version": b"1.0"}], ids=["length", "chunked", "1.0"]
)
@pytest.mark.parametrize("piece", [7, 100_000])
def test_request_that_offers_an_upgrade_is_answered(
    offer: str, options: Any, piece: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = picture_request(_OFFERS[offer] + b"Expect: 100-continue\r\n", **options)
    with Scene(tmp_path) as scene, scene.connect() as client:
        for begin in range(0, len(request), piece):
            client.sendall(request[begin : begin + piece])
        client.shutdown(socket.SHUT_WR)
        answer = until_closed(client).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert codes_of(answer) == [77]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_connection_stays_usable_after_an_upgrade_offer(tmp_path: Path) -> None:
    offering = picture_request(_OFFERS["h2c"])
    get = _GET[:-2] + _OFFERS["h2c"] + b"\r\n"
    with Scene(tmp_path) as scene, scene.connect(offering * 2 + get + offering) as client:
        received = b""
        while received.count(b"HTTP/1.1 200") < 4 or not received.endswith(b"}"):
            received += client.recv(65536)
        assert codes_of(received) == [77, 77, 77]
        alive(client)


def test_upgrade_offers_do_not_escape_the_limits(tmp_path: Path) -> None:
    large = b"GET / HTTP/1.1\r\n" + _OFFERS["h2c"] + b"X: y\r\n" * 1000 + b"\r\n"
    with Scene(tmp_path, max_header_bytes=4096, header_s=0.2) as scene:
        with scene.connect(large) as client:
            assert problem_of(until_closed(client)).code == "header_too_large"
        with scene.connect(b"GET / HTTP/1.1\r\n" + _OFFERS["h2c"]) as client:
            assert problem_of(until_closed(client)).code == "slow_request"
        with scene.connect((_GET[:-2] + _OFFERS["h2c"] + b"\r\n") * 5000) as client:
            assert until_closed(client).count(b"HTTP/1.1") < 100


def test_connect_is_answered_400(tmp_path: Path) -> None:
    sent = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n\x16\x03"
    with Scene(tmp_path) as scene, scene.connect(sent) as client:
        found = problem_of(until_closed(client))
    assert (found.status, found.code) == (400, "bad_request")
    assert "CONNECT" in found.detail


@pytest.mark.parametrize("loop", _LOOPS)
@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (picture_request(), 1),
        (picture_request(chunked=True), 1),
        (picture_request(_OFFERS["h2c"]), 1),
        (_PNG + b"Content-Length: 3000000\r\n\r\n" + code_picture(77).ljust(3_000_000, b"0"), 1),
        (picture_request() + _GET + picture_request(), 3),
        (picture_request() + picture_request()[:-1], 1),
        (picture_request() + _GET[:-5], 1),
        (picture_request()[:-1], 0),
        (_GET[:-5], 0),
        (b"", 0),
    ],
)
def test_client_that_stops_sending_gets_the_answers_to_its_whole_requests(
    sent: bytes, answers: int, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.process.running.asyncio", SimpleNamespace(run=_LOOPS[loop]))
    with Scene(tmp_path, idle_s=600, header_s=600) as scene:
        with scene.connect(sent) as client:
            client.shutdown(socket.SHUT_WR)
            received = until_closed(client)
        assert received.count(b"HTTP/1.1 200") == received.count(b"HTTP/1.1") == answers
        lines = httpx.get(scene.address + "/metrics", timeout=WAIT_S).text.splitlines()
        assert "facemask_connections 1.0" in lines  # this one


def test_connection_beyond_max_connections_is_answered_503(tmp_path: Path) -> None:
    with Scene(tmp_path, max_connections=2) as scene, scene.connect() as first:
        alive(first)
        with scene.connect() as second, scene.connect() as third:
            answer = until_closed(third)
            assert problem_of(answer).code == "too_many_connections"
            assert b"\r\nRetry-After: 1\r\n" in answer
            alive(second)
            second.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            lines = until_closed(second).decode().splitlines()
    assert 'facemask_refused_connections_total{code="too_many_connections"} 1.0' in lines
    assert "facemask_connections 2.0" in lines


def test_client_that_takes_no_answer_is_aborted_after_body_s(tmp_path: Path) -> None:
    ask = b"GET /page/redoc.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with Scene(tmp_path, body_s=0.2, header_s=600, idle_s=600) as scene, scene.connect() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(ask * 8)  # several MB, more than lies between the two
        ended = threading.Event()
        end = time.monotonic() + WAIT_S
        while True:
            try:
                deaf.sendall(b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                break
            assert time.monotonic() < end
            ended.wait(0.02)


def test_slow_connections_do_not_delay_other_clients(tmp_path: Path) -> None:
    with Scene(tmp_path, header_s=2, body_s=2, max_connections=150) as scene:
        slow = [scene.connect(b"GET / HTTP/1.1\r\nX") for _ in range(50)]
        slow += [scene.connect(_BODY_HEAD + b"\x89PNG") for _ in range(50)]
        with httpx.Client(base_url=scene.address, timeout=WAIT_S) as client:
            for code in (1, 2, 3):
                answer = client.post("/predict", files=files_of(code))
                assert code_of(answer.json()["predictions"][0]) == code
        for connection in slow:
            assert problem_of(until_closed(connection)).status == 408
            connection.close()


def test_documented_examples_equal_the_protocol_s_answers() -> None:
    settings = Settings()
    shown = {kind.code: example_of(kind) for kind in (HeaderTooLarge, TooManyConnections)}
    max_connections, max_header_bytes = settings.max_connections, settings.max_header_bytes
    for error in (
        TooManyConnections(f"{max_connections:,} connections are open: come again."),
        HeaderTooLarge(f"The request's line and headers may have {max_header_bytes:,} bytes."),
    ):
        example = shown[error.code]
        assert (
            problem_of(problem_response_bytes(error, example["request_id"])).model_dump() == example
        )
