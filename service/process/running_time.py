"""Time in which this process ran: `docker pause`, SIGSTOP or a suspended machine do not count."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

_TICK_S: Final = 1.0
_SHORTEST_PAUSE_S: Final = 0.1  # the event loop itself may be late by less
_MAX_PAUSES: Final = 1000  # remembered, the latest


class RunningTime:
    """Waits for spans of running time, and remembers the pauses that it noticed meanwhile.

    A wait that ends late was paused: it is made in short steps, so that each pause is known to
    within a step. Only one task at a time may wait.
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
            if now - began - step_s > _SHORTEST_PAUSE_S:
                self._pauses.append((now, now - began - step_s))

    def of_last(self, seconds: float) -> float:
        """Return how many of the last seconds the process ran, of those that it waited here."""
        since = self._clock() - seconds
        return seconds - sum(length for end, length in self._pauses if end > since)
