"""The service killed, stopped and without its workers under load."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.serving.processes import free_port
from checks.swaps import Load, expected_answers, model_of
from models.bundle.load import Bundle
from tests import WAIT_S
from tests.process.test_disks import contents
from tests.process.test_serving_process import Service, becomes, children, refuses
from tests.service.fixtures import (
    GatedModel,
    code_of,
    code_picture,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    shuffled_codes,
    wait,
)
from tests.service.process.test_shutdown import becomes_unready

CLIENTS = 4


def load_of(service: Service, bundle: Bundle) -> Load:
    """Return clients that send requests without a pause, each answered at least once."""
    with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
        becomes(client, 200)
    pictures = [code_picture(code) for code in shuffled_codes(8)]
    expected = {model_of(bundle.manifest.version): expected_answers(bundle, pictures)}
    load = Load(service.port, pictures, expected, clients=CLIENTS)
    try:
        load.wait_for_version(bundle.manifest.version)
    except BaseException:
        load.stop()
        raise
    return load


def test_service_restarts_on_its_port_after_sigkill_under_load(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    before = contents(tmp_path)
    port = str(free_port())
    service = Service(tmp_path, FACEMASK_PORT=port)
    load = load_of(service, bundle)
    service.process.kill()
    assert service.stop()[0] == -signal.SIGKILL
    # A client that was cut off gets an error, never a wrong or a partial answer.
    end = time.monotonic() + WAIT_S
    while not load.failures:
        assert time.monotonic() < end, "no client was cut off"
        time.sleep(0.01)
    load.stop()
    assert not [failure for failure in load.failures if failure.startswith("ValueError")]
    assert contents(tmp_path) == before
    service = Service(tmp_path, FACEMASK_PORT=port)
    try:
        load = load_of(service, bundle)
        load.stop()
        assert load.failures == []
    finally:
        status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors


def test_workers_end_with_their_killed_supervisor(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    port = free_port()
    many = {"FACEMASK_PORT": str(port), "FACEMASK_WORKERS": "2", "FACEMASK_THREADS": "2"}
    service = Service(tmp_path, **many)
    load = load_of(service, bundle)
    load.stop()
    workers = children(service.process.pid)
    service.process.kill()
    service.stop()
    refuses(port)
    service = Service(tmp_path, **many)
    try:
        load = load_of(service, bundle)
        load.stop()
        assert load.failures == []
        assert not workers & children(service.process.pid)
    finally:
        service.stop()


def test_workers_answer_all_accepted_requests_after_sigterm(
    tmp_path: Path,
) -> None:
    bundle = publish_bundle(tmp_path)
    service = Service(tmp_path, FACEMASK_WORKERS="2", FACEMASK_THREADS="2", FACEMASK_GRACE_S="600")
    picture = code_picture(7)
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(picture)}\r\nExpect: 100-continue\r\n\r\n"
    )
    try:
        load = load_of(service, bundle)
        with (
            contextlib.ExitStack() as held,
            httpx.Client(base_url=service.address, timeout=WAIT_S) as client,
        ):
            held.callback(load.stop)
            begun = [
                held.enter_context(socket.create_connection(("127.0.0.1", service.port), WAIT_S))
                for _ in range(2 * CLIENTS)
            ]
            for connection in begun:
                connection.sendall(head.encode())
                assert b"100 Continue" in connection.recv(1000)
            service.process.send_signal(signal.SIGTERM)
            becomes_unready(client)
            end, seen = time.monotonic() + WAIT_S, list(load.answered)
            while any(now < then + 5 for now, then in zip(load.answered, seen, strict=True)):
                assert time.monotonic() < end, "callers are not answered in the grace period"
            load.stop()  # as clients do once it is not ready
            assert load.failures == []
            for worker in children(service.process.pid):
                os.kill(worker, signal.SIGINT)  # ends the grace period
            refuses(service.port)
            for connection in begun:
                connection.sendall(picture)
            for connection in begun:
                answer = b""
                while chunk := connection.recv(65536):
                    answer += chunk
                assert answer.startswith(b"HTTP/1.1 200 OK")
                assert bundle.manifest.version.encode() in answer
    finally:
        status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors
    assert not children(service.process.pid)


def test_dead_lane_fails_its_callers_and_readyz_and_recovers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            model.failure = SystemExit(3)
            answer = await client.post("/predict", files=files_of(1))
            assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
            while engine.alive():
                await asyncio.sleep(0)
            assert (await client.get("/health")).status_code == 503
            assert (await client.get("/readyz")).json()["code"] == "stuck"
            waiting = asyncio.create_task(client.post("/predict", files=files_of(4)))
            model.failure = None
            assert code_of((await waiting).json()["predictions"][0]) == 4
            assert (await client.get("/readyz")).status_code == 200

    wait(scene())
    assert "lane 0 died and pauses for 0.1 s" in caplog.text
