"""The studio with the service beside it, as `make run` starts them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import WAIT_S
from tests.studio.runs.bundles import answers, publish_run


@contextlib.contextmanager
def running(folder: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start both in a session of their own, and give the lines that they announce."""
    process = subprocess.Popen(
        [sys.executable, "-m", "studio", "--port", "0", "--with-service"],
        env=os.environ
        | {"FACEMASK_STUDIO_DATA": str(folder / "data"), "FACEMASK_STORE": str(folder / "store")}
        | {"FACEMASK_PORT": "0", "FACEMASK_GRACE_S": "0", "PYTHONUNBUFFERED": "1"}
        | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        yield process, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def is_open(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def wait_until_closed(url: str) -> None:
    until = time.monotonic() + WAIT_S
    while is_open(url):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_both_start_know_each_other_and_end_together(
    number: signal.Signals, tmp_path: Path
) -> None:
    version = publish_run(tmp_path / "store", answers(10), live=True)
    with running(tmp_path) as (process, lines):
        service, studio = lines[0].split()[1], lines[1].split()[1]
        assert lines[0].startswith("service: http://127.0.0.1:")
        assert lines[1].startswith("studio: http://127.0.0.1:")
        assert service in lines[1]
        until = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                live = httpx.get(f"{studio}/api/live", timeout=20).json()
                if live["service"]["status"] == "ok":
                    break
            assert time.monotonic() < until
            time.sleep(0.2)
        assert live["service"] == live["service"] | {"url": service, "version": version}
        process.send_signal(number)
        assert process.wait(WAIT_S) == (-9 if number is signal.SIGKILL else 0)
        wait_until_closed(studio)
        wait_until_closed(service)


def test_service_that_cannot_start_ends_the_studio_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "studio", "--port", "0", "--with-service"],
        env=os.environ
        | {"FACEMASK_STUDIO_DATA": str(tmp_path / "data"), "FACEMASK_PORT": "nonsense"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "FACEMASK_PORT" in done.stderr
    assert "error: The service cannot be started" in done.stderr


def test_key_of_the_start_signs_in(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "studio", "--port", "0", "--host", "0.0.0.0"],
        env=os.environ
        | {"FACEMASK_STUDIO_DATA": str(tmp_path / "data"), "FACEMASK_STUDIO_START_KEY": "true"}
        | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url, _, key = process.stdout.readline().split()[1].partition("/#key=")
    try:
        assert url.startswith("http://127.0.0.1:")
        until = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                assert httpx.get(f"{url}/api/projects").status_code == 401
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        headers = {"X-Requested-With": "studio"}
        signed = httpx.post(
            f"{url}/api/session", json={"key": key}, headers=headers, timeout=WAIT_S
        )
        assert signed.json() == {"name": "owner", "role": "promote", "keys": True}
        again = httpx.get(f"{url}/api/projects", cookies=dict(signed.cookies), timeout=WAIT_S)
        assert again.json() == {"projects": []}
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0
        process.stdout.close()
