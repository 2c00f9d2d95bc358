"""Service processes of models that are tried out: the same service, another model.

A model that is not live is served by `python -m service` on a port of its own, with a store that
has this model only: its answers are identical to the service's. The process is started at the
first request, and stopped after an idle time, or when another model is tried.
"""

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from models.bundle.store import CURRENT
from studio.jobs.process import lower_priority
from studio.problems import BundleGone, CandidateFailed, CandidateStarting

log = logging.getLogger("facemask.studio")

_LISTENING: Final = re.compile(rb"listening on (http://\S+)")
_START_S: Final = 120.0  # max time until it serves: PyTorch and a model on a busy machine
_WAIT_S: Final = 20.0  # max wait of one request for the start
_STOP_S: Final = 3.0
_POLL_S: Final = 0.1

PARENT: Final = "{parent}"
"""In a command: the number of this process."""

COMMAND: Final = (sys.executable, "-m", "studio.live.end_with_parent", PARENT, "service")
"""Command of the service, which ends with the studio."""


@dataclass
class _Candidate:
    """A service process.

    Attributes:
        version: Of its model.
        folder: Its store.
        process: The process.
        url: Its address, once it listens.
        ready_by: When it has to serve, by the monotonic clock; None once it has done.
        asked_at: When it was last asked for, by the monotonic clock.
    """

    version: str
    folder: Path
    process: asyncio.subprocess.Process
    url: str = ""
    ready_by: float | None = field(default_factory=lambda: time.monotonic() + _START_S)
    asked_at: float = field(default_factory=time.monotonic)


class Candidates:
    """Starts and stops the service process of the model that is tried out; one at a time."""

    def __init__(
        self,
        store: Path,
        *,
        idle_s: float,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Create the pool; nothing is started yet.

        Args:
            store: Folder of the models.
            idle_s: Seconds after the last request, after which a process is ended.
            command: Command of the service.
            environment: Environment variables; of `FACEMASK_*`, only trusted keys, device and
                limits are kept.
        """
        self._store, self._idle_s = store, idle_s
        self._command = [str(os.getpid()) if part == PARENT else part for part in command]
        self._environment = dict(environment)
        self._current: _Candidate | None = None
        self._turn = asyncio.Lock()

    async def url_of(self, version: str) -> str:
        """Return the address of the service process of a version, once it serves it.

        Raises:
            BundleGone: The store does not have the version.
            CandidateStarting: It takes longer than a request can wait.
            CandidateFailed: The process has ended, refuses the model, or is not ready in time.
        """
        try:
            async with asyncio.timeout(_WAIT_S), self._turn:
                current = self._current
                if current is not None and not self._serves(current, version):
                    await self._end()
                if self._current is None:
                    self._current = await self._start(version)
                self._current.asked_at = time.monotonic()
                await self._wait_until_ready(self._current)
                self._current.ready_by = None
                self._current.asked_at = time.monotonic()
                return self._current.url
        except TimeoutError:
            raise CandidateStarting from None

    async def run(self) -> None:
        """Stop the process after the idle time; run until cancelled."""
        while True:
            await asyncio.sleep(min(5.0, self._idle_s / 4))
            async with self._turn:  # not while a request waits for the start
                current = self._current
                if current is not None and time.monotonic() - current.asked_at > self._idle_s:
                    await self._end()

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    def _serves(self, candidate: _Candidate, version: str) -> bool:
        return candidate.version == version and candidate.process.returncode is None

    async def _start(self, version: str) -> _Candidate:
        if not (self._store / version).is_dir():
            raise BundleGone(f"{self._store} has no version {version}: it was pruned.")
        folder = Path(tempfile.mkdtemp(prefix="studio-candidate-"))
        (folder / version).symlink_to((self._store / version).absolute())
        (folder / CURRENT).write_text(f"{version}\n")
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._variables(folder),
                start_new_session=True,
            )
        except BaseException as error:  # the time of the request may be up, too
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise CandidateFailed(f"No service process can be started ({error}).") from error
            raise
        lower_priority(process.pid)
        log.info("candidate %s: process %s", version, process.pid)
        return _Candidate(version, folder, process)

    def _variables(self, folder: Path) -> dict[str, str]:
        kept = ("FACEMASK_TRUSTED_KEYS", "FACEMASK_DEVICE", "FACEMASK_MAX_", "FACEMASK_DECODE_S")
        inherited = {
            name: value
            for name, value in self._environment.items()
            if not name.startswith("FACEMASK_") or name.startswith(kept)
        }
        inherited.pop("PORT", None)
        return inherited | {
            "FACEMASK_STORE": str(folder),
            "FACEMASK_HOST": "127.0.0.1",
            "FACEMASK_PORT": "0",
            "FACEMASK_THREADS": "1",
            "FACEMASK_GRACE_S": "0",
            "PYTHONUNBUFFERED": "1",
        }

    async def _wait_until_ready(self, candidate: _Candidate) -> None:
        """Wait until the process serves its model.

        Raises:
            CandidateFailed: It has ended, refuses the model, or is not ready in time.
        """
        left_s = None if candidate.ready_by is None else candidate.ready_by - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                await self._become_ready(candidate)
        except TimeoutError:
            await self._end()
            raise CandidateFailed(
                "The service process of the chosen model does not become ready."
            ) from None

    async def _become_ready(self, candidate: _Candidate) -> None:
        process = candidate.process
        if not candidate.url:
            assert process.stdout is not None
            line = await process.stdout.readline()
            found = _LISTENING.search(line)
            if found is None:
                await self._end()
                raise CandidateFailed("The service process of the chosen model has ended.")
            candidate.url = found[1].decode()
        async with httpx.AsyncClient(timeout=_STOP_S) as client:
            while process.returncode is None:
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    health = (await client.get(f"{candidate.url}/health")).json()
                    if health.get("status") == "ok":
                        return
                    if health.get("refused"):
                        reason = str(health["refused"].get("reason"))
                        await self._end()
                        raise CandidateFailed(f"The service refuses the chosen model: {reason}")
                await asyncio.sleep(_POLL_S)
        await self._end()
        raise CandidateFailed("The service process of the chosen model has ended.")

    async def _end(self) -> None:
        candidate, self._current = self._current, None
        if candidate is None:
            return
        try:
            await _stop(candidate.process)
        finally:
            shutil.rmtree(candidate.folder, ignore_errors=True)
            log.info("candidate %s: ended", candidate.version)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process; if it takes too long, or the time of the request is up, kill it."""
    if process.returncode is not None:
        return
    _signal(process.pid, signal.SIGTERM)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await process.wait()
    finally:
        if process.returncode is None:
            _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
