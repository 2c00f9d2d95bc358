"""Time in which this process ran, without pauses by `docker pause`, SIGSTOP or suspension."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

_TICK_S: Final = 1.0
_MIN_PAUSE_S: Final = 0.1  # the event loop itself may be late by less
_MAX_PAUSES: Final = 1000  # the latest are kept


class RunningTime:
    """Clock of running time: waits in short steps and records pauses.

    A step that ends late was paused, so that each pause is known to within a step. Only one task
    at a time may wait.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without pauses.

        Args:
            clock: Returns monotonic seconds, pauses included.
        """
        self._clock = clock
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_MAX_PAUSES)  # end, length

    async def wait(self, seconds: float, future: "asyncio.Future[Any] | None" = None) -> None:
        """Wait until the process has run for some seconds, or until a future is done."""
        ran_s = 0.0
        while ran_s < seconds and not (future and future.done()):
            step_s = min(_TICK_S, seconds - ran_s)
            began = self._clock()
            if future is None:
                await asyncio.sleep(step_s)
            else:
                await asyncio.wait({future}, timeout=step_s)
            now = self._clock()
            ran_s += min(step_s, now - began)
            if now - began - step_s > _MIN_PAUSE_S:
                self._pauses.append((now, now - began - step_s))

    def elapsed_in_last(self, seconds: float) -> float:
        """Return the running time within the last seconds: all of them but recorded pauses."""
        since = self._clock() - seconds
        return seconds - sum(length for end, length in self._pauses if end > since)
