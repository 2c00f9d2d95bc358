"""How the service stops: not ready at once, still answering for a while, then drained.

uvicorn closes its listener as it hears SIGTERM, so that those who have not yet heard of it meet
a closed door. Here the signal first turns readiness off; uvicorn hears of it after a grace
period, closes the listener, and lets the requests in hand end within its own bound.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class GracefulShutdown:
    """Whether the service has been told to stop."""

    def __init__(self) -> None:
        """Begin as a service that was not."""
        self.requested = False

    @contextlib.contextmanager
    def install(self, grace_s: float) -> Iterator[None]:
        """Take SIGTERM, and hand it on to the server's own handler `grace_s` seconds later.

        Only where a server handles it, which is on the main thread of its process. Ctrl-C is
        the server's own affair, and ends the grace period.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        server = signal.getsignal(signal.SIGTERM)
        if not callable(server):
            yield
            return

        def told(number: int, frame: FrameType | None) -> None:
            # Who signals a whole group of processes reaches this one twice.
            if not self.requested:
                self.requested = True
                loop.call_soon_threadsafe(loop.call_later, grace_s, server, number, frame)

        signal.signal(signal.SIGTERM, told)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) is told:
                signal.signal(signal.SIGTERM, server)
