"""Graceful shutdown: unready at once, still answering for a grace period, then drained.

uvicorn closes its listening socket on SIGTERM, so that clients are refused while their load
balancer still routes to it. Here the signal first turns readiness off. uvicorn receives it after
the grace period, closes the socket, and lets requests in progress finish within its own limit.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class GracefulShutdown:
    """Handler of SIGTERM that delays the server's own.

    Attributes:
        requested: True from the first SIGTERM on.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextlib.contextmanager
    def install(self, grace_s: float) -> Iterator[None]:
        """Handle SIGTERM within the context, and pass it to the server `grace_s` seconds later.

        It does nothing outside the main thread, or without a server that handles SIGTERM. SIGINT
        (Ctrl-C) goes straight to the server and ends the grace period.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)
        if not callable(server_handler):
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            # A signal to a whole process group arrives twice.
            if not self.requested:
                self.requested = True
                loop.call_soon_threadsafe(loop.call_later, grace_s, server_handler, number, frame)

        signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) is handle:
                signal.signal(signal.SIGTERM, server_handler)
