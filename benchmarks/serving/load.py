"""Load generator: raw sockets, prebuilt requests, one thread, a process of its own.

    python -m benchmarks.serving.load PLAN.json        prints the result as JSON

Closed loop: each connection sends its next request after its answer. Open loop: requests are due
at times drawn beforehand, regardless of earlier answers, and their latency counts from the time
that they were due, not from when they could be sent.
"""

import heapq
import json
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

from benchmarks.serving.plan import Outcome, Plan, arrivals
from benchmarks.serving.wire import Answer, BrokenAnswer, read_answer

_REFUSALS: Final = (429, 503)
# Max length of a window, as a multiple of the requested seconds, if answers are slow.
_LONGEST: Final = 6
_CHUNK: Final = 262_144


class _Connection:
    """One socket and its request in flight."""

    __slots__ = ("answered", "due", "file", "received", "retried", "sent", "socket", "waiting")

    def __init__(self, port: int) -> None:
        self.file: bytes = b""
        self.sent = 0
        self.due = 0.0
        self.waiting = False
        self.retried = False
        self.received = bytearray()
        self.connect(port)

    def connect(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.answered = False  # on this socket


class Load:
    """Runs one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._files = [Path(name).read_bytes() for name in plan.requests]
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._resting: list[tuple[float, int, _Connection]] = []
        self._outcome = Outcome()
        self._finished = 0
        self._next = 0
        self._counts_from: float | None = 0.0 if plan.count else None
        self._window_end = 0.0

    def run(self) -> Outcome:
        """Send, wait for the rest, close."""
        plan, outcome = self._plan, self._outcome
        cpu = time.process_time()
        self._began = time.perf_counter()
        span = plan.warm_s + plan.seconds
        due = deque(arrivals(plan.rate, span, plan.seed)) if plan.rate else None
        if due is not None:
            self._counts_from = plan.warm_s
        try:
            while not self._over(due):
                self._start(due)
                self._wait(due)
            end = self._now() + plan.drain_s
            while self._in_flight() and self._now() < end:
                for descriptor, event in self._poll.poll(0.1):
                    self._serve(descriptor, event)
        finally:
            outcome.unanswered = self._in_flight() + len(due or ())
            for connection in self._connections.values():
                connection.socket.close()
            self._poll.close()
        outcome.cpu_s = time.process_time() - cpu
        outcome.window_s = self._window_end - (self._counts_from or 0.0)
        return outcome

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _in_flight(self) -> int:
        return sum(connection.waiting for connection in self._connections.values())

    def _over(self, due: deque[float] | None) -> bool:
        plan = self._plan
        if plan.count:
            return self._outcome.requests >= plan.count
        if due is not None:  # what is due is sent, however late
            return not due or self._now() > (plan.warm_s + plan.seconds) * _LONGEST
        if self._counts_from is None:
            return self._now() > plan.warm_s + plan.seconds * _LONGEST
        if self._now() > self._counts_from + plan.seconds * _LONGEST:
            return True
        answered = len(self._outcome.latencies_ms) + len(self._outcome.refusals_ms)
        return (
            self._window_end >= self._counts_from + plan.seconds
            and answered >= 2 * plan.connections
        )

    def _start(self, due: deque[float] | None) -> None:
        """Send all that may be sent now."""
        now = self._now()
        while self._resting and self._resting[0][0] <= now:
            self._idle.append(heapq.heappop(self._resting)[2])
        while due is None or (due and due[0] <= now):
            if self._plan.count and self._outcome.requests >= self._plan.count:
                return
            connection = self._free()
            if connection is None:
                return
            self._outcome.requests += 1
            connection.due = self._now() if due is None else due.popleft()
            connection.file = self._files[self._next % len(self._files)]
            connection.retried = False
            self._next += 1
            self._send(connection)

    def _free(self) -> _Connection | None:
        if self._idle:
            return self._idle.popleft()
        if len(self._connections) >= self._plan.connections:
            return None
        connection = _Connection(self._plan.port)
        self._register(connection)
        return connection

    def _register(self, connection: _Connection) -> None:
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)

    def _wait(self, due: deque[float] | None) -> None:
        now = self._now()
        timeout = 0.1
        if due:
            timeout = min(timeout, max(0.0, due[0] - now) if due[0] > now else 0.1)
        if self._resting:
            timeout = min(timeout, max(0.0, self._resting[0][0] - now))
        if due:  # epoll wakes on whole milliseconds only, select on microseconds
            select.select([self._poll.fileno()], [], [], timeout)
            timeout = 0.0
        for descriptor, event in self._poll.poll(timeout):
            self._serve(descriptor, event)

    def _send(self, connection: _Connection) -> None:
        connection.waiting, connection.sent = True, 0
        connection.received.clear()
        self._push(connection)

    def _push(self, connection: _Connection) -> None:
        left = memoryview(connection.file)[connection.sent :]
        try:
            connection.sent += connection.socket.send(left)
        except BlockingIOError:
            pass
        except OSError as error:
            self._reconnect(connection, type(error).__name__)
            return
        whole = connection.sent == len(connection.file)
        events = select.EPOLLIN if whole else select.EPOLLIN | select.EPOLLOUT
        self._poll.modify(connection.socket, events)

    def _serve(self, descriptor: int, event: int) -> None:
        connection = self._connections.get(descriptor)
        if connection is None:  # closed while it was being served
            return
        if event & select.EPOLLOUT and connection.waiting:
            self._push(connection)
        if not event & ~select.EPOLLOUT or self._connections.get(descriptor) is not connection:
            return
        try:
            chunk = connection.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._reconnect(connection, type(error).__name__)
            return
        if not chunk:
            self._reconnect(connection, "closed")
            return
        connection.received += chunk
        try:
            answer = read_answer(connection.received)
        except BrokenAnswer:
            self._outcome.broken += 1
            self._renew(connection)
            self._done(connection, None)
            return
        if answer is not None:
            connection.answered = True
            if answer.closes:
                self._renew(connection)
            self._done(connection, answer)

    def _reconnect(self, connection: _Connection, kind: str) -> None:
        """Reconnect after the server closed the connection or it broke."""
        # A kept connection may have been closed as the request went out: every client of
        # HTTP/1.1 then sends it again, once.
        again = connection.answered and not connection.received and not connection.retried
        waiting = connection.waiting
        self._renew(connection)
        if waiting and again:
            connection.retried = True
            self._send(connection)
        elif waiting:
            self._outcome.failed[kind] += 1
            self._done(connection, None)

    def _renew(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno())
        connection.socket.close()
        connection.connect(self._plan.port)
        self._register(connection)

    def _done(self, connection: _Connection, answer: Answer | None) -> None:
        plan, outcome, now = self._plan, self._outcome, self._now()
        connection.waiting = False
        connection.received.clear()
        self._finished += 1
        took_ms = 1000 * (now - connection.due)
        counts = self._counts_from is not None and connection.due >= self._counts_from
        rest_s = 0
        if answer is not None and answer.status == 200:
            if answer.predictions == plan.expected:
                outcome.all_images += plan.expected
                if counts:
                    outcome.latencies_ms.append(took_ms)
                self._count_images(now)
            else:
                outcome.broken += 1
        elif answer is not None and answer.status in _REFUSALS:
            rest_s = answer.retry_after_s if plan.obey_retry_after else 0
            if counts:
                outcome.refusals_ms.append(took_ms)
        elif answer is not None:
            outcome.failed[str(answer.status)] += 1
        # The window opens at an answer and closes at one, so that answers that come in waves
        # are counted by whole waves.
        warm = now >= plan.warm_s and self._finished >= plan.connections
        if self._counts_from is None and warm:
            self._counts_from = self._window_end = now
        if rest_s:
            heapq.heappush(self._resting, (now + rest_s, id(connection), connection))
        else:
            self._idle.append(connection)

    def _count_images(self, now: float) -> None:
        plan = self._plan
        if self._counts_from is None or now < self._counts_from:
            return
        ended = not plan.count and not plan.rate and self._over(None)
        if not ended:
            self._outcome.images += plan.expected
            self._window_end = now


def main() -> int:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    json.dump(Load(plan).run().as_dict(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
