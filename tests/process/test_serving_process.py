"""`python -m service` in a process of its own, over the network."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import WAIT_S
from tests.service.fixtures import (
    CODES,
    code_of,
    code_picture,
    files_of,
    form,
    publish_bundle,
    shuffled_codes,
    wait,
)

_POLL_S = 0.02


class Service:
    """A running service: its address and its log."""

    def __init__(self, store: Path, **environment: str) -> None:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith("FACEMASK_") and k != "PORT"
        }
        # A pipe that is not read would block the service once it is full.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed as it stops
        self._errors = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            env={
                **kept,
                "FACEMASK_STORE": str(store),
                "FACEMASK_PORT": "0",
                "FACEMASK_POLL_S": "0.02",
                "FACEMASK_THREADS": "1",
                "FACEMASK_GRACE_S": "0",
                "FACEMASK_DRAIN_S": "600",  # a stop that waited for it would be seen
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            line = stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+)) .+\n", line)
        assert found, line
        self.address, self.port = found[1], int(found[2])

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Stop it; return exit status and standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if not self._log.closed:
                with self._log:
                    self._log.seek(0)
                    self._errors = self._log.read()
        return self.process.returncode, self._errors


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "store")
    yield service
    service.stop()


def becomes(client: httpx.Client, status: int) -> httpx.Response:
    """Poll /health until it answers with a status."""
    end = time.monotonic() + WAIT_S
    tick = threading.Event()
    while True:
        response = client.get("/health")
        if response.status_code == status:
            return response
        assert time.monotonic() < end, response.text
        tick.wait(_POLL_S)


def test_service_starts_empty_loads_a_model_serves_and_stops(
    service: Service, tmp_path: Path
) -> None:
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        response = client.post("/predict", files=files_of(1))
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert becomes(client, 503).json()["model"] is None
        bundle = publish_bundle(tmp_path / "store")
        health = becomes(client, 200).json()
        assert health["model"]["version"] == bundle.manifest.version
        two = client.post("/predict", files=files_of(300, 3000)).json()
        assert [(e["filename"], e["label"], code_of(e)) for e in two["predictions"]] == [
            ("300.png", "no_mask", 300),
            ("3000.png", "mask", 3000),
        ]

    codes = shuffled_codes(200)

    async def ask(client: httpx.AsyncClient, code: int) -> None:
        headers = {"content-type": "image/png", "x-request-id": f"code-{code}"}
        response = await client.post("/predict", content=code_picture(code), headers=headers)
        assert response.status_code == 200, response.text
        assert code_of(response.json()["predictions"][0]) == code
        assert response.headers["x-request-id"] == f"code-{code}"

    async def many() -> None:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(
            base_url=service.address, timeout=WAIT_S, limits=limits
        ) as client:
            await asyncio.gather(*(ask(client, code) for code in codes))

    wait(many())
    status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors
    assert "ERROR" not in errors
    assert bundle.manifest.version in errors  # the log says which model serves


def test_sigterm_lets_requests_in_progress_finish(service: Service, tmp_path: Path) -> None:
    publish_bundle(tmp_path / "store")
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        becomes(client, 200)
    body, kind = form(("files", "a.png", code_picture(CODES // 3)))
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=WAIT_S) as connection:
        connection.sendall(head.encode())
        # The service has begun to read this request's body when it asks for it.
        assert b"100 Continue" in connection.recv(1000)
        service.process.send_signal(signal.SIGTERM)
        refuses(service.port)
        connection.sendall(body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    status, errors = service.stop()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"filename": "a.png", "decision": "no_mask", "label": "no_mask"' in answer
    assert status == 0
    assert "Traceback" not in errors


def test_sigint_stops_without_a_traceback(tmp_path: Path) -> None:
    service = Service(tmp_path)
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        assert client.get("/health").status_code == 503
    status, errors = service.stop(signal.SIGINT)
    assert (status, "Traceback" in errors) == (0, False)


def test_disconnected_client_logs_no_error(service: Service, tmp_path: Path) -> None:
    publish_bundle(tmp_path / "store")
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        becomes(client, 200)
        head = (
            "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            "Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", service.port), timeout=WAIT_S) as leaving:
            leaving.sendall(head.encode())
            assert b"100 Continue" in leaving.recv(1000)
            leaving.sendall(b"x" * 1000)
        response = client.post("/predict", files=files_of(5))
        assert code_of(response.json()["predictions"][0]) == 5
    status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors
    assert "ERROR" not in errors


def refuses(port: int) -> None:
    """Wait until the port refuses connections: the service is stopping."""
    end = time.monotonic() + WAIT_S
    tick = threading.Event()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
        except ConnectionRefusedError:
            return
        assert time.monotonic() < end, "the service still listens"
        tick.wait(_POLL_S)


def test_workers_share_a_port_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    service = Service(tmp_path, FACEMASK_WORKERS="2", FACEMASK_THREADS="2")
    killed: set[int] = set()
    try:
        for answered in (1, 2):
            end = time.monotonic() + WAIT_S
            while len(workers := children(service.process.pid) - killed) < 2:
                assert time.monotonic() < end, "a worker is missing"
            with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
                becomes(client, 200)
                response = client.post("/predict", files=files_of(7))
                assert code_of(response.json()["predictions"][0]) == 7
                # Any worker returns the metrics of all, dead ones included.
                counted = 'facemask_requests_total{route="/predict",status="200"} '
                assert f"{counted}{answered}.0\n" in client.get("/metrics").text
            killed.add(min(workers))
            os.kill(min(workers), signal.SIGKILL)
    finally:
        status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors
    assert not children(service.process.pid)


def children(pid: int) -> set[int]:
    """Return the worker processes of a supervisor, without Python's own helper processes."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            command = (stat.parent / "cmdline").read_text()
            if parent == pid and "spawn_main" in command:
                found.add(int(stat.parent.name))
    return found
