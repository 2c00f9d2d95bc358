"""ops/nginx-replicas.conf, with other ports, in front of two replicas of the service."""

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest

from benchmarks.serving.processes import free_port
from tests import ROOT, WAIT_S
from tests.process.test_serving_process import Service, becomes
from tests.service.fixtures import code_of, files_of, publish_bundle

CONF = ROOT / "ops" / "nginx-replicas.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
CALLERS = 4

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@dataclass
class Cluster:
    """Two replicas of one store, and nginx before them."""

    address: str
    store: Path
    replicas: list[Service]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    store = tmp_path / "store"
    publish_bundle(store)
    # The second one takes a new model over seconds later.
    replicas = [Service(store), Service(store, FACEMASK_POLL_S="2")]
    port = free_port()
    server = CONF.read_text()
    for given, wanted in {
        "127.0.0.1:8001": f"127.0.0.1:{replicas[0].port}",
        "127.0.0.1:8002": f"127.0.0.1:{replicas[1].port}",
        "127.0.0.1:8000": f"127.0.0.1:{port}",
    }.items():
        assert given in server
        server = server.replace(given, wanted)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/errors;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{server}}}\n"
    )
    nginx = subprocess.Popen([str(NGINX), "-c", str(tmp_path / "nginx.conf")])
    try:
        for replica in replicas:
            with httpx.Client(base_url=replica.address, timeout=WAIT_S) as client:
                becomes(client, 200)
        accepts(port)
        yield Cluster(f"http://127.0.0.1:{port}", store, replicas)
    finally:
        nginx.send_signal(signal.SIGTERM)
        nginx.wait(WAIT_S)
        for replica in replicas:
            replica.stop()


def accepts(port: int) -> None:
    """Wait until the port accepts connections."""
    end = time.monotonic() + WAIT_S
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
            return
        assert time.monotonic() < end, "nginx does not listen"
        threading.Event().wait(0.05)


def test_killed_replica_costs_no_caller_an_answer(cluster: Cluster) -> None:
    numbers = count()
    calling, killed = threading.Semaphore(0), threading.Event()

    def call() -> list[tuple[int, httpx.Response]]:
        answers: list[tuple[int, httpx.Response]] = []
        with httpx.Client(base_url=cluster.address, timeout=WAIT_S) as client:
            while len(answers) < 20 or not killed.is_set():
                code = next(numbers) % 4000
                answers.append((code, client.post("/predict", files=files_of(code))))
                if len(answers) == 10:
                    calling.release()
            for code in range(20):  # after the kill
                answers.append((code, client.post("/predict", files=files_of(code))))
        return answers

    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call) for _ in range(CALLERS)]
        try:
            assert all(calling.acquire(timeout=WAIT_S) for _ in calls)
        finally:
            cluster.replicas[0].process.kill()
            killed.set()
        answers = [answer for done in calls for answer in done.result()]

    assert len(answers) >= CALLERS * 40
    for code, response in answers:
        assert response.status_code == 200, response.text
        (entry,) = response.json()["predictions"]
        assert code_of(entry) == code


def test_caller_that_asks_for_it_sees_no_older_model(cluster: Cluster) -> None:
    seen: list[str] = []
    with httpx.Client(base_url=cluster.address, timeout=WAIT_S) as client:
        end = time.monotonic() + WAIT_S
        while len(set(seen)) < 2 or seen.count(seen[-1]) < 30:
            headers = {"x-min-model-version": max(seen)} if seen else {}
            response = client.post("/predict", files=files_of(5), headers=headers)
            assert response.status_code == 200, response.text
            seen.append(response.headers["x-model-version"])
            if len(seen) == 10:
                publish_bundle(cluster.store)
            assert time.monotonic() < end, seen
    assert seen == sorted(seen)
