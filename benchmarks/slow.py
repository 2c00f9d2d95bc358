"""Callers that take for ever: half send their headers a byte at a time, half their bodies."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

_ROUND_S: Final = 2.0  # within which each sends a byte
_HEAD: Final = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
_BODY: Final = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    b"Content-Length: 1000000\r\n\r\n"
)
_ENDED: Final = "closed without a word"


class Slow:
    """So many slow connections, opened again whenever the service ends one.

    Attributes:
        ended: How often the service did, by what it said.
    """

    def __init__(self, port: int, count: int) -> None:
        """Open them all."""
        self.ended: Counter[str] = Counter()
        self._port = port
        self._stopped = threading.Event()
        self._connections = [self._open(place) for place in range(count)]
        self._thread = threading.Thread(target=self._trickle)
        self._thread.start()

    def close(self) -> None:
        """End them."""
        self._stopped.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _open(self, place: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.sendall(_BODY if place % 2 else _HEAD)
        connection.setblocking(False)
        return connection

    def _trickle(self) -> None:
        while self._connections and not self._stopped.is_set():
            for place, connection in enumerate(self._connections):
                # As many waits as connections, so that the bytes are spread over the round.
                if self._stopped.wait(_ROUND_S / len(self._connections)):
                    return
                if (said := _said(connection)) is not None:
                    self.ended[said] += 1
                    connection.close()
                    self._connections[place] = self._open(place)


def _said(connection: socket.socket) -> str | None:
    """Send one more byte; what the service said if it has ended the connection."""
    try:
        connection.send(b"x")
    except OSError:
        return _ENDED
    try:
        return connection.recv(4096).decode("latin-1").partition("\r\n")[0] or _ENDED
    except BlockingIOError:
        return None
    except OSError:
        return _ENDED


@contextlib.contextmanager
def slow_connections(port: int, count: int) -> Iterator[Slow]:
    """Have them for the time of the `with`."""
    slow = Slow(port, count)
    try:
        yield slow
    finally:
        slow.close()
