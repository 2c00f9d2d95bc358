"""SIGTERM to a running service: unready at once, still answering, drained, status 0."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from models.bundle.store import CURRENT
from tests import WAIT_S
from tests.process.test_serving_process import Service, becomes, children
from tests.service.fixtures import files_of, publish_bundle


def becomes_unready(client: httpx.Client) -> httpx.Response:
    end = time.monotonic() + WAIT_S
    while (response := client.get("/readyz")).status_code == 200:
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    return response


def test_sigterm_turns_readiness_off_and_answers_in_the_grace_period(tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    service = Service(tmp_path, FACEMASK_GRACE_S="600")
    try:
        with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
            becomes(client, 200)
            assert client.get("/readyz").status_code == 200
            for _ in range(2):  # as `timeout` does, and others who signal a group
                service.process.send_signal(signal.SIGTERM)
            response = becomes_unready(client)
            assert (response.status_code, response.json()["code"]) == (503, "stopping")
            for _ in range(3):
                answer = client.post("/predict", files=files_of(5))
                assert answer.status_code == 200
                assert answer.headers["connection"] == "close"
            assert client.get("/livez").status_code == 200
    finally:
        status, errors = service.stop(signal.SIGINT)  # ends the grace period
    assert status == 0
    assert "Traceback" not in errors


def test_sigterm_turns_readiness_of_all_workers_off(tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    service = Service(tmp_path, FACEMASK_WORKERS="2", FACEMASK_THREADS="2", FACEMASK_GRACE_S="600")
    try:
        with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
            becomes(client, 200)
            service.process.send_signal(signal.SIGTERM)
            response = becomes_unready(client)
            assert (response.status_code, response.json()["code"]) == (503, "stopping")
            assert client.get("/livez").status_code == 200
    finally:
        for worker in children(service.process.pid):  # as Ctrl-C reaches them
            os.kill(worker, signal.SIGINT)
        status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors


def test_unanswered_request_gets_503_at_the_end_of_the_drain(tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    service = Service(tmp_path, FACEMASK_DRAIN_S="1")
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        becomes(client, 200)
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=WAIT_S) as connection:
        connection.sendall(head.encode())
        assert b"100 Continue" in connection.recv(1000)
        service.process.send_signal(signal.SIGTERM)
        answer = b""
        while chunk := connection.recv(65536):  # the body never comes
            answer += chunk
    status, errors = service.stop()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code": "stopping"' in answer
    assert status == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_does_not_wait_for_a_loading_model(number: signal.Signals, tmp_path: Path) -> None:
    # A store whose disk does not answer, at the first read: opening a pipe waits for a writer.
    os.mkfifo(tmp_path / CURRENT)
    service = Service(tmp_path)
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").json()["code"] == "no_model"
    status, errors = service.stop(number)
    assert status == 0
    assert "Traceback" not in errors
