"""The command `python -m service`: exit statuses, its address, and errors before it serves."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any

import pytest
import uvicorn

from service import __main__ as command


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FACEMASK_") or name == "PORT":
            monkeypatch.delenv(name)


def test_bad_settings_end_the_process_with_status_2() -> None:
    ended = _service(FACEMASK_PORT="seven", FACEMASK_MAX_FILES="0")
    assert ended.returncode == 2
    assert "FACEMASK_PORT='seven'" in ended.stderr
    assert "FACEMASK_MAX_FILES='0'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


def test_taken_port_ends_the_process_with_status_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _service(FACEMASK_PORT=str(port))
    assert ended.returncode == 3
    assert re.fullmatch(rf"error: port {port} is taken on 127\.0\.0\.1: .+\n", ended.stderr)


def test_listen_takes_the_port_at_once() -> None:
    with command._listen("127.0.0.1", 0) as first:
        with pytest.raises(OSError, match="in use") as caught:
            command._listen("127.0.0.1", first.getsockname()[1])
        assert caught.value.errno == errno.EADDRINUSE
        with socket.create_connection(first.getsockname(), timeout=5) as client:
            assert client.getpeername() == first.getsockname()


@pytest.mark.parametrize("host", ["host.invalid", "x" * 70])
def test_invalid_address_is_named(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if host.endswith(".invalid"):
        monkeypatch.setattr(socket, "getaddrinfo", unknown)  # asks no name server
    monkeypatch.setenv("FACEMASK_HOST", host)
    assert command.main() == 3
    assert capsys.readouterr().err.startswith(f"error: cannot listen on {host}, port 8000 (")


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_start_prints_its_address(
    host: str,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given: list[socket.socket] = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        given.extend(sockets)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("FACEMASK_HOST", host)
    monkeypatch.setenv("FACEMASK_PORT", "0")
    if ":" in host:
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    try:
        assert command.main() == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    (listening,) = given
    with listening:
        port = listening.getsockname()[1]
    assert capsys.readouterr().out == f"listening on http://{shown}:{port} (documentation: /docs)\n"


def test_service_starts_with_a_full_standard_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    served: list[socket.socket] = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        served.extend(sockets)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setenv("FACEMASK_PORT", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        for name in ("/dev/full", None):
            output = open(name, "w") if name else None  # noqa: SIM115  closed below
            monkeypatch.setattr(sys, "stdout", output)
            assert command.main() == 0
            if output is not None:
                output.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(served) == 2
    for listening in served:
        listening.close()
    assert "Traceback" not in capfd.readouterr().err


def test_workers_without_a_temporary_folder_are_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("FACEMASK_WORKERS", "2")
    monkeypatch.setenv("FACEMASK_PORT", "0")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert command.main() == 6
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    error = capsys.readouterr().err
    assert "set TMPDIR" in error
    assert len(error.splitlines()) == 1


def test_failing_system_ends_the_service_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(command, "_serve_in_this_process", fail)
    monkeypatch.setenv("FACEMASK_PORT", "0")
    assert command.main() == 6
    assert capsys.readouterr().err == "error: the service cannot continue (Too many open files).\n"


def _service(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
