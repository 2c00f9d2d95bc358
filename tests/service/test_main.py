"""The command `python -m service`: exit statuses, its address, and errors before it serves."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from models import __version__
from models.bundle.files import MODEL
from service import __main__ as command
from service.process.command_line import apply_options, parse_options
from service.settings import Settings
from tests import WAIT_S
from tests.service.fixtures import publish_bundle


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
        timeout=WAIT_S,
        check=False,
    )


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FACEMASK_") and k != "PORT"}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_help_lists_options_and_all_settings_with_their_defaults() -> None:
    ended = _run("--help")
    assert ended.returncode == 0
    for option in ("--store", "--host", "--port", "--check", "--version"):
        assert option in ended.stdout
    for name, field in Settings.model_fields.items():
        line = f"  FACEMASK_{name.upper()}" + (" or PORT" if name == "port" else "")
        default = field.get_default(call_default_factory=True, validated_data={})
        line += "" if default in (None, "") else f" = {default}"
        assert f"{line}\n" in ended.stdout
        assert (field.description or "")[:40] in " ".join(ended.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["serve"], "unrecognized arguments: serve"),
        (["--por", "8"], "unrecognized arguments: --por 8"),
        (["--port", "x"], "'x' is no port"),
        (["--port", "70000"], "'70000' is no port"),
        (["--store", " "], "is empty"),
    ],
)
def test_wrong_command_line_ends_with_status_2(arguments: list[str], fact: str) -> None:
    ended = _run(*arguments)
    assert ended.returncode == 2
    assert fact in ended.stderr
    assert not ended.stdout


def test_version_is_the_package_s() -> None:
    ended = _run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"facemask {__version__}\n")


def test_options_precede_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FACEMASK_PORT", "1"), ("FACEMASK_HOST", "::1"), ("FACEMASK_STORE", "a")):
        monkeypatch.setenv(name, value)
    apply_options(parse_options(["--port", "0", "--store", "b"]))
    settings = Settings()
    assert (settings.port, settings.host, str(settings.store)) == (0, "::1", "b")


def test_check_gives_a_verdict_and_a_status(tmp_path: Path) -> None:
    ended = _run("--check", "--store", str(tmp_path), FACEMASK_MAX_FILE="3")
    assert ended.returncode == 1
    assert f"store: {tmp_path} holds no model yet" in ended.stdout
    assert ended.stdout.endswith("The service cannot answer.\n")
    assert "FACEMASK_MAX_FILE is set, and nothing reads it: is FACEMASK_MAX_FILES meant?" in (
        ended.stderr
    )
    bundle = publish_bundle(tmp_path)
    ended = _run("--check", "--store", str(tmp_path))
    assert ended.returncode == 0
    assert f"names version {bundle.manifest.version}" in ended.stdout
    assert "golden pictures verified), answers mask, no_mask" in ended.stdout
    (bundle.path / MODEL).write_bytes(b"x")
    ended = _run("--check", "--store", str(tmp_path))
    assert ended.returncode == 1
    assert "model: " in ended.stdout
    assert _run("--check", FACEMASK_MAX_FILES="0").returncode == 2


def test_every_line_of_a_json_log_is_json(tmp_path: Path) -> None:
    """From the first line on, with what libraries warn of, and errors that end the program."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for environment in ({"FACEMASK_PORT": "x"}, {"FACEMASK_PORT": port}):
            ended = _run(FACEMASK_LOG_FORMAT="json", **environment)
            (line,) = ended.stderr.splitlines()
            assert json.loads(line)["level"] == "error"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FACEMASK_") and k != "PORT"}
    with subprocess.Popen(
        [sys.executable, "-m", "service", "--port", "0", "--store", str(tmp_path)],
        env={**kept, "FACEMASK_LOG_FORMAT": "json", "FACEMASK_GRACE_S": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        address = re.fullmatch(r"listening on (\S+) .+", json.loads(first)["message"])
        assert address
        assert httpx.get(f"{address[1]}/health", timeout=WAIT_S).status_code == 503
        lines = iter(process.stderr)
        while "holds no model yet" not in json.loads(next(lines))["message"]:
            pass
        process.send_signal(signal.SIGTERM)
        assert all(json.loads(line)["message"] for line in lines)
        assert process.stdout.read() == ""
