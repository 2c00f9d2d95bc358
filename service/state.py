"""What the endpoints share for the life of the service."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from service.heart import Heart
from service.live import Live
from service.metrics import Metrics
from service.problems import Overloaded
from service.settings import Settings
from service.stop import Stop


class Admission:
    """Counts the pictures that were accepted and are not yet answered, up to a bound."""

    def __init__(self, limit: int) -> None:
        """Allow `limit` pictures at a time."""
        self._limit = limit
        self.waiting = 0

    def refuse_if_full(self) -> None:
        """Refuse who would find no place now, before anything of theirs is read.

        Raises:
            Overloaded: There is none.
        """
        if self.waiting >= self._limit:
            raise self._overloaded()

    @contextlib.contextmanager
    def enter(self, count: int) -> Iterator[None]:
        """Hold places for `count` pictures.

        A request that finds nothing before it may always enter, however many pictures it has.

        Raises:
            Overloaded: So many places are not free.
        """
        if self.waiting and self.waiting + count > self._limit:
            raise self._overloaded()
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.waiting} pictures are waiting and {self._limit} are allowed: come again."
        )


@dataclass(frozen=True)
class State:
    """Made when the service starts.

    Attributes:
        settings: As read at the start.
        live: Which model is serving.
        admission: How many pictures are waiting.
        metrics: What has happened.
        heart: Whether the model answers.
        stop: Whether the service has been told to stop.
        started: Moment of the start, on `time.monotonic()`'s clock, in seconds.
    """

    settings: Settings
    live: Live
    admission: Admission
    metrics: Metrics
    heart: Heart
    stop: Stop
    started: float
