"""Slow clients: half send their headers a byte at a time, half their bodies."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final

_ROUND_S: Final = 2.0  # in which each connection sends a byte
_HEAD: Final = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
_BODY: Final = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    b"Content-Length: 1000000\r\n\r\n"
)
_SILENT: Final = "closed without an answer"


class SlowClients:
    """Slow connections, each reopened whenever the service closes it.

    Attributes:
        closed: Number of connections that the service closed, per answer.
    """

    def __init__(self, port: int, count: int) -> None:
        """Open the connections."""
        self.closed: Counter[str] = Counter()
        self._port = port
        self._stopped = threading.Event()
        self._connections = [self._open(index) for index in range(count)]
        self._thread = threading.Thread(target=self._trickle)
        self._thread.start()

    def close(self) -> None:
        """Close the connections."""
        self._stopped.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _open(self, index: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.sendall(_BODY if index % 2 else _HEAD)
        connection.setblocking(False)
        return connection

    def _trickle(self) -> None:
        while self._connections and not self._stopped.is_set():
            for index, connection in enumerate(self._connections):
                # As many waits as connections, so that the bytes are spread over the round.
                if self._stopped.wait(_ROUND_S / len(self._connections)):
                    return
                if (answer := _closing_answer(connection)) is not None:
                    self.closed[answer] += 1
                    connection.close()
                    self._connections[index] = self._open(index)


def _closing_answer(connection: socket.socket) -> str | None:
    """Send one more byte; return the last answer if the service has closed the connection."""
    try:
        connection.send(b"x")
    except OSError:
        return _SILENT
    try:
        return connection.recv(4096).decode("latin-1").partition("\r\n")[0] or _SILENT
    except BlockingIOError:
        return None
    except OSError:
        return _SILENT


@contextlib.contextmanager
def slow_connections(port: int, count: int) -> Iterator[SlowClients]:
    """Keep slow connections open within a `with` block."""
    slow = SlowClients(port, count)
    try:
        yield slow
    finally:
        slow.close()
