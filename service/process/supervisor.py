"""Supervisor of several worker processes that serve one port; does not load PyTorch."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from models.errors import reason_of

log = logging.getLogger("facemask")

_MIN_BACKOFF_S: Final = 1.0
_MAX_BACKOFF_S: Final = 30.0
# Workers that live this long after a restart reset the backoff.
_STABLE_S: Final = 60.0


class Supervisor(Multiprocess):
    """uvicorn's supervisor with exponential backoff, as a start takes a core for seconds.

    The first worker to die is replaced at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the supervisor and install its signal handlers.

        Args:
            config: Configuration of each worker, and their number.
            sockets: Listening sockets; closed when the workers are terminated.
            clock: Returns monotonic seconds.
        """
        super().__init__(config, sockets)
        self._clock = clock
        self._backoff_s = 0.0
        self._next_start_at = 0.0

    def keep_subprocess_alive(self) -> None:
        """Replace workers that are dead or hang, unless the backoff has not passed yet."""
        if self._clock() < self._next_start_at:
            return
        before, failed = list(self.processes), False
        try:
            super().keep_subprocess_alive()
        except OSError as error:  # no free process or descriptor: the other workers serve
            failed = True
            log.error("a worker cannot be started: %s", reason_of(error))
        now = self._clock()
        if failed or self.processes != before:
            self._backoff_s = min(max(2 * self._backoff_s, _MIN_BACKOFF_S), _MAX_BACKOFF_S)
            self._next_start_at = now + self._backoff_s
        elif now >= self._next_start_at + _STABLE_S:
            self._backoff_s = 0.0

    def terminate_all(self) -> None:
        """Terminate the workers, and close the sockets so that new clients are refused at once."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


def terminate_with_supervisor() -> None:
    """Send SIGTERM to this worker once its supervisor is dead.

    An orphaned worker would hold the port for ever, and nothing would restart it.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    sentinel = supervisor.sentinel

    def watch() -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-supervisor", daemon=True).start()
