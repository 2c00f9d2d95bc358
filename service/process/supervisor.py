"""Several processes that serve one port, and who minds them, which takes no PyTorch."""

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

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
# Processes that live so long after a death were not started in vain.
_SETTLED_S: Final = 60.0


class Supervisor(Multiprocess):
    """uvicorn's, with patience: one that keeps dying is started ever less often.

    The first to die is replaced at once. A start costs a core for seconds.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over the signals.

        Args:
            config: Of each process, and how many there are.
            sockets: To accept on; closed when the processes are told to end.
            clock: Monotonic, in seconds.
        """
        super().__init__(config, sockets)
        self._clock = clock
        self._pause_s = 0.0
        self._again_at = 0.0

    def keep_subprocess_alive(self) -> None:
        """Replace those that have died or hang, unless one died a moment ago."""
        if self._clock() < self._again_at:
            return
        before = list(self.processes)
        super().keep_subprocess_alive()
        now = self._clock()
        if self.processes != before:
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            self._again_at = now + self._pause_s
        elif now >= self._again_at + _SETTLED_S:
            self._pause_s = 0.0

    def terminate_all(self) -> None:
        """Tell the processes to end; nobody waits at a door that none of them minds any more."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


def terminate_with_supervisor() -> None:
    """Have this process told to end once its supervisor has died, which it cannot do itself.

    It would hold the port for ever, and nobody would mind it.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    sentinel = supervisor.sentinel

    def end() -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end, name="orphan", daemon=True).start()
