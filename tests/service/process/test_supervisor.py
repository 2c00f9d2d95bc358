"""Supervision of worker processes: backoff and termination."""

import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.supervisors import multiprocess

from service.process.supervisor import Supervisor


class _Process:
    """A process whose state the test sets."""

    started = 0
    dies = False

    def __init__(self, *_: object) -> None:
        self.pid, self.exitcode = 0, 1

    def start(self) -> None:
        _Process.started += 1

    def is_alive(self, timeout: float) -> bool:
        return not _Process.dies

    def kill(self) -> None: ...
    def join(self) -> None: ...
    def terminate(self) -> None: ...


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(multiprocess, "Process", _Process)
    monkeypatch.setattr(_Process, "started", 0)
    kept = {number: signal.getsignal(number) for number in multiprocess.SIGNALS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def supervisor_of(workers: int, **options: Any) -> Supervisor:
    config = uvicorn.Config("unused", workers=workers, log_config=None)
    supervisor = Supervisor(config, [], **options)
    supervisor.init_processes()
    return supervisor


def test_restarts_back_off_exponentially_until_stable() -> None:
    now = 0.0
    supervisor = supervisor_of(2, clock=lambda: now)
    starts = []
    _Process.dies = True
    for second in range(200):
        now, before = float(second), _Process.started
        supervisor.keep_subprocess_alive()
        if _Process.started > before:
            assert _Process.started == before + 2  # both had died
            starts.append(second)
    assert starts == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181]

    _Process.dies = False
    now = 271.0  # they have lived for a minute
    supervisor.keep_subprocess_alive()
    _Process.dies = True
    now = 272.0
    before = _Process.started
    supervisor.keep_subprocess_alive()
    now = 273.0
    supervisor.keep_subprocess_alive()
    assert _Process.started == before + 4


def test_worker_that_cannot_be_started_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    supervisor = supervisor_of(1, clock=lambda: now)
    _Process.dies = True

    def fail(process: _Process) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(_Process, "start", fail)
        supervisor.keep_subprocess_alive()
    assert "a worker cannot be started: Resource temporarily unavailable" in caplog.text
    before = _Process.started
    supervisor.keep_subprocess_alive()
    assert _Process.started == before
    now = 1.0
    supervisor.keep_subprocess_alive()
    assert _Process.started == before + 1


def test_terminate_all_closes_the_sockets() -> None:
    supervisor = supervisor_of(1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        supervisor.sockets = [listening]
        supervisor.terminate_all()
        assert listening.fileno() == -1
