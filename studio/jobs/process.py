"""The subprocess of a job: a process group of its own, which outlives the studio."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NICENESS: Final = 5
"""A job takes a quarter of the processor time while the service or the studio wants it.

`benchmarks.beside_training`: the p99 of the service at half its load is 1.4 times that without a
training, and 3.9 times at nice 0. At nice 10 it is 1.5 to 1.9 times, which is the same within the
noise, and beside other work a training gets less than half of the time that it gets at nice 5.
"""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_POLL_S: Final = 0.02


@dataclass(frozen=True)
class ProcessMark:
    """Unique identity of a process: pid and start time, because pids are reused.

    Attributes:
        pid: Number of the process, and of its group.
        started: Its start, as text.
    """

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Return True if the process runs; a zombie does not."""
        return start_of(self.pid) == self.started != ""

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children; do nothing if they have ended."""
        # The group outlives its first process: worker processes are to end as well.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def group_exists(self) -> bool:
        """Return True if a process of the group still runs."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def end(self, *, grace_s: float) -> None:
        """End the process and its children: SIGTERM, and SIGKILL once the grace has passed.

        Args:
            grace_s: Seconds between the two.
        """
        self.signal_group(signal.SIGTERM)
        until = time.monotonic() + grace_s
        while self.is_alive() and time.monotonic() < until:
            time.sleep(_POLL_S)
        self.signal_group(signal.SIGKILL)


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    niceness: int = NICENESS,
) -> tuple[subprocess.Popen[bytes], ProcessMark]:
    """Start a command in a session of its own, with a low priority.

    In a session of its own, the command is not reached by Ctrl-C in the studio's terminal, or by
    the terminal's end.

    Args:
        command: Program and arguments.
        log: File that its output is appended to.
        environment: Its environment variables.
        cwd: Its working folder, by default the studio's.
        niceness: Its priority.

    Raises:
        OSError: It cannot be started.
    """
    with open(log, "ab") as output:
        process = subprocess.Popen(  # noqa: S603 - a command of the studio's own
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    lower_priority(process.pid, niceness)
    return process, ProcessMark(process.pid, start_of(process.pid))


def find_in(folder: Path) -> ProcessMark | None:
    """Return the process that runs in a job's folder, on systems with /proc (Linux).

    A studio that is killed after it has started a process, but before it has stored the pid, leaves
    an unknown process behind.
    """
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").readlink() == folder.resolve():
                pid = os.getpgid(int(path.name))
                return ProcessMark(pid, start_of(pid))
        except OSError:  # it has ended, or belongs to another user
            continue
    return None


def lower_priority(pid: int, niceness: int = NICENESS) -> None:
    """Give a process that has just started a low priority; its children inherit it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    # Linux may share the processor by session first: niceness counts within a session only.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def start_of(pid: int) -> str:
    """Return the start of a process as text that no other process has; empty if it has ended."""
    try:
        # The second field is the program's name in brackets, which may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return _start_by_ps(pid) if not _BOOT_ID.exists() else ""
    except (OSError, UnicodeDecodeError):
        return ""
    state, ticks = fields[0], fields[19]
    if state in "ZX":
        return ""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return f"{boot}/{ticks}"


def _start_by_ps(pid: int) -> str:
    """Return the start of a process on systems without /proc."""
    shown = subprocess.run(  # noqa: S603 - a number
        ["/bin/ps", "-o", "lstart=,stat=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return "" if not shown or shown.split()[-1].startswith("Z") else shown.rpartition(" ")[0]
