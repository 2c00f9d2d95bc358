"""Server processes: start, wait until ready, read /proc, stop."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.serving.wire import BrokenAnswer, ask

_START_S: Final = 120.0
_STOP_S: Final = 10.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_EPHEMERAL_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FREE_PORTS: Final = 10_000


class ServerFailed(Exception):
    """A server did not start, or died."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        pid: Of the process that was started; it may have others below it.
        port: On 127.0.0.1.
        first_answer_s: Seconds from the start of the process to its first correct answer.
    """

    pid: int
    port: int
    first_answer_s: float

    def cpu_s(self) -> float:
        """Return the CPU seconds that its processes have used, ended ones included."""
        return sum(sum(_stat(pid)[11:15]) for pid in family(self.pid)) / _TICKS

    def resident_mb(self) -> float:
        """Return the resident memory of its processes; shared pages count in each."""
        return sum(sum(_stat(pid)[21:22]) for pid in family(self.pid)) * _PAGE_BYTES / 2**20


def free_port() -> int:
    """Return a free port that stays free until it is bound.

    It is below the range from which the system gives ports to those who ask for any.
    """
    end = int(_EPHEMERAL_PORTS.read_text().split()[0]) if _EPHEMERAL_PORTS.exists() else 0
    end = end if end > 2 * _FREE_PORTS else 32768
    while True:
        port = end - 1 - secrets.randbelow(_FREE_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    request: bytes,
    environment: Mapping[str, str],
    log: Path,
) -> Iterator[Server]:
    """Start a server, wait for its first correct answer, and stop all of its processes afterwards.

    Args:
        command: Its command line, to be run in the repository's root.
        port: Where it will listen.
        request: A request that it answers with one prediction once it is ready.
        environment: Added to this process's own.
        log: Where its output goes.

    Raises:
        ServerFailed: It died or gave no correct answer in time.
    """
    began = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches this process, which then ends the server
        )
    try:
        _wait(process, port, request, log)
        yield Server(process.pid, port, time.perf_counter() - began)
        if process.poll() is not None:
            raise ServerFailed(f"{command[0]} died with status {process.returncode}: see {log}")
    finally:
        _end(process)


def family(pid: int) -> list[int]:
    """Return a process and its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(stat[1], []).append(int(entry.name))
    found = [pid] if _stat(pid) else []
    for member in found:
        found += children.get(member, [])
    return found


def _stat(pid: int) -> list[int]:
    """Return the numbers of /proc/PID/stat from the state (as 0) on; none if it has ended."""
    fields = _fields(pid)
    return [0, *map(int, fields[1:])] if fields else []


def _runs(pid: int) -> bool:
    """Return True unless the process has ended; its parent may not have noticed yet."""
    return _fields(pid)[:1] not in ([], ["Z"], ["X"])


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _wait(process: subprocess.Popen[bytes], port: int, request: bytes, log: Path) -> None:
    end = time.perf_counter() + _START_S
    reason = "nobody listens"
    while time.perf_counter() < end:
        if process.poll() is not None:
            raise ServerFailed(f"it ended with status {process.returncode}: see {log}")
        try:
            answer = ask(port, request, timeout_s=_START_S)
        except (OSError, BrokenAnswer) as error:
            reason = str(error)
        else:
            if answer.status == 200 and answer.predictions == 1:
                return
            reason = f"status {answer.status}, {answer.predictions} predictions"
        time.sleep(0.01)
    raise ServerFailed(f"no correct answer in {_START_S:g} s ({reason}): see {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, then end whatever is left of it."""
    members = family(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    killed = []
    for pid in members:
        # Only what still is of this server's session: a number may have been given out again.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    process.wait(_START_S)
    # A process listens until it has ended, a moment after the signal.
    end = time.perf_counter() + _START_S
    while any(map(_runs, killed)) and time.perf_counter() < end:
        time.sleep(0.01)
