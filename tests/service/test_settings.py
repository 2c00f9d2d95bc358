"""The settings, where they come from, and what a bad one is answered with."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import ValidationError

from service import __main__ as command
from service.settings import Settings

_KEY = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="

ENVIRONMENT = {
    "FACEMASK_STORE": ("/somewhere/store", "store", Path("/somewhere/store")),
    "FACEMASK_TRUSTED_KEYS": (_KEY, "trusted_keys", _KEY),
    "FACEMASK_HOST": ("0.0.0.0", "host", "0.0.0.0"),
    "FACEMASK_PORT": ("8123", "port", 8123),
    "FACEMASK_POLL_S": ("0.25", "poll_s", 0.25),
    "FACEMASK_DEVICE": ("cuda", "device", "cuda"),
    "FACEMASK_THREADS": ("3", "threads", 3),
    "FACEMASK_WORKERS": ("2", "workers", 2),
    "FACEMASK_MAX_BATCH": ("16", "max_batch", 16),
    "FACEMASK_MAX_FILES": ("5", "max_files", 5),
    "FACEMASK_MAX_FACES": ("3", "max_faces", 3),
    "FACEMASK_MAX_BODY_BYTES": ("1000", "max_body_bytes", 1000),
    "FACEMASK_MAX_PIXELS": ("640000", "max_pixels", 640000),
    "FACEMASK_MAX_WAITING": ("9", "max_waiting", 9),
    "FACEMASK_MAX_FILE_BYTES": ("2000", "max_file_bytes", 2000),
    "FACEMASK_DECODE_S": ("2.5", "decode_s", 2.5),
    "FACEMASK_MAX_WAITING_PIXELS": ("7000", "max_waiting_pixels", 7000),
    "FACEMASK_MAX_BODIES_BYTES": ("8000", "max_bodies_bytes", 8000),
    "FACEMASK_MAX_HEADER_BYTES": ("4096", "max_header_bytes", 4096),
    "FACEMASK_HEADER_S": ("3", "header_s", 3.0),
    "FACEMASK_BODY_S": ("4", "body_s", 4.0),
    "FACEMASK_IDLE_S": ("6", "idle_s", 6),
    "FACEMASK_MAX_CONNECTIONS": ("12", "max_connections", 12),
    "FACEMASK_API_KEYS": ("a" * 64, "api_keys", "a" * 64),
    "FACEMASK_ALLOWED_HOSTS": ("a.org,*.b.org", "allowed_hosts", "a.org,*.b.org"),
    "FACEMASK_CORS_ORIGINS": ("https://a.org", "cors_origins", "https://a.org"),
    "FACEMASK_GRACE_S": ("0.5", "grace_s", 0.5),
    "FACEMASK_DRAIN_S": ("7", "drain_s", 7),
    "FACEMASK_STUCK_S": ("90", "stuck_s", 90.0),
    "FACEMASK_LOG_FORMAT": ("json", "log_format", "json"),
    "FACEMASK_TRACES": ("http://c:4318/v1/traces", "traces", "http://c:4318/v1/traces"),
    "FACEMASK_DEADLINE_S": ("1.5", "deadline_s", 1.5),
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FACEMASK_") or name == "PORT":
            monkeypatch.delenv(name)


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.store == Path("models/artifacts")
    assert (settings.threads, settings.workers, settings.max_batch) == (0, 1, 0)
    assert settings.deadline_s == 30.0


def test_each_setting_says_what_it_is() -> None:
    undocumented = [n for n, field in Settings.model_fields.items() if not field.description]
    assert not undocumented
    assert {name for _, name, _ in ENVIRONMENT.values()} == set(Settings.model_fields)


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_a_variable_sets_its_setting(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, name, wanted = ENVIRONMENT[variable]
    assert getattr(Settings(), name) != wanted
    monkeypatch.setenv(variable, text)
    assert getattr(Settings(), name) == wanted


def test_port_is_read_and_the_own_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    assert Settings().port == 9001
    monkeypatch.setenv("FACEMASK_PORT", "9002")
    assert Settings().port == 9002


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().host = "0.0.0.0"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FACEMASK_PORT", "http"),
        ("FACEMASK_PORT", "65536"),
        ("PORT", "-1"),
        ("FACEMASK_POLL_S", "0"),
        ("FACEMASK_POLL_S", "nan"),
        ("FACEMASK_THREADS", "-1"),
        ("FACEMASK_WORKERS", "0"),
        ("FACEMASK_MAX_BATCH", "-1"),
        ("FACEMASK_MAX_FILES", "many"),
        ("FACEMASK_MAX_BODY_BYTES", "0"),
        ("FACEMASK_MAX_PIXELS", "999999999"),
        ("FACEMASK_MAX_WAITING", "0"),
        ("FACEMASK_MAX_FILE_BYTES", "0"),
        ("FACEMASK_DECODE_S", "0"),
        ("FACEMASK_MAX_WAITING_PIXELS", "0"),
        ("FACEMASK_MAX_BODIES_BYTES", "0"),
        ("FACEMASK_MAX_HEADER_BYTES", "255"),
        ("FACEMASK_HEADER_S", "0"),
        ("FACEMASK_BODY_S", "inf"),
        ("FACEMASK_IDLE_S", "0"),
        ("FACEMASK_MAX_CONNECTIONS", "0"),
        ("FACEMASK_DEADLINE_S", "inf"),
        ("FACEMASK_GRACE_S", "-1"),
        ("FACEMASK_DRAIN_S", "0"),
        ("FACEMASK_STUCK_S", "0"),
        ("FACEMASK_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_stops_the_start_with_a_sentence(
    variable: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, text)
    assert command.main() == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(f"error: {variable}='{text}': Input should be ")


@pytest.mark.parametrize("text", [",", "absent.pem", f"{_KEY},"])
def test_trusted_keys_that_are_none_stop_the_start(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEMASK_TRUSTED_KEYS", text)
    assert command.main() == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: FACEMASK_TRUSTED_KEYS='{text}': ")
    assert "neither a public key" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FACEMASK_API_KEYS", ","),
        ("FACEMASK_API_KEYS", "a-key-and-not-its-hash"),
        ("FACEMASK_ALLOWED_HOSTS", "a.org,"),
        ("FACEMASK_CORS_ORIGINS", " "),
    ],
)
def test_a_list_with_a_hole_stops_the_start_and_never_opens_the_door(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, text)
    assert command.main() == 2
    assert capsys.readouterr().err.startswith(f"error: {variable}='{text}': ")


def test_the_process_ends_with_the_status_and_the_sentence() -> None:
    ended = _service(FACEMASK_PORT="seven", FACEMASK_MAX_FILES="0")
    assert ended.returncode == 2
    assert "FACEMASK_PORT='seven'" in ended.stderr
    assert "FACEMASK_MAX_FILES='0'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _service(FACEMASK_PORT=str(port))
    assert ended.returncode == 3
    assert re.fullmatch(rf"error: port {port} is taken on 127\.0\.0\.1: .+\n", ended.stderr)


def test_a_port_is_taken_from_the_moment_it_is_announced() -> None:
    with command._listen("127.0.0.1", 0) as first:
        with pytest.raises(OSError, match="in use") as caught:
            command._listen("127.0.0.1", first.getsockname()[1])
        assert caught.value.errno == errno.EADDRINUSE
        with socket.create_connection(first.getsockname(), timeout=5) as client:
            assert client.getpeername() == first.getsockname()


@pytest.mark.parametrize("host", ["host.invalid", "x" * 70])
def test_an_address_that_cannot_be_listened_on_is_named(
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
def test_it_says_where_it_listens(
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


def _service(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
