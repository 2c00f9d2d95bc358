"""What the endpoints share for the life of the service."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models.imaging.header import announced_pixels
from service.inference.model_manager import Live
from service.inference.watchdog import Heart
from service.limits.budget import Bodies
from service.problems import Overloaded
from service.process.shutdown import GracefulShutdown
from service.settings import Settings
from service.telemetry.metrics import Load, Metrics


class Admission:
    """Counts the pictures that were accepted and are not yet answered, up to two bounds."""

    def __init__(self, limit: int, limit_pixels: int) -> None:
        """Allow `limit` pictures at a time, of `limit_pixels` together."""
        self._limit = limit
        self._limit_pixels = limit_pixels
        self.waiting = 0
        self.waiting_pixels = 0

    def refuse_if_full(self) -> None:
        """Refuse who would find no place now, before anything of theirs is read.

        Raises:
            Overloaded: There is none.
        """
        if self.waiting >= self._limit:
            raise self._overloaded()

    @contextlib.contextmanager
    def enter(self, count: int, pixels: int = 0) -> Iterator[None]:
        """Hold places for `count` pictures of so many pixels together.

        A request that finds nothing before it may always enter, however many pictures it has.

        Raises:
            Overloaded: So many places are not free.
        """
        if self.waiting and self.waiting + count > self._limit:
            raise self._overloaded()
        if self.waiting and self.waiting_pixels + pixels > self._limit_pixels:
            raise Overloaded(
                f"{self.waiting_pixels:,} pixels are waiting and {self._limit_pixels:,} are "
                "allowed: come again."
            )
        self.waiting += count
        self.waiting_pixels += pixels
        try:
            yield
        finally:
            self.waiting -= count
            self.waiting_pixels -= pixels

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.waiting} pictures are waiting and {self._limit} are allowed: come again."
        )


def waiting_pixels(pictures: Iterable[object], max_pixels: int) -> int:
    """Pixels of encoded pictures, by their headers.

    One without a plain header counts as much as one may have, so that hiding it saves nothing;
    what is no file but pixels is small.
    """
    return sum(
        min(max_pixels if (found := announced_pixels(data)) is None else found, max_pixels)
        for data in pictures
        if isinstance(data, (bytes, bytearray))
    )


@dataclass(frozen=True)
class State:
    """Made when the service starts.

    Attributes:
        settings: As read at the start.
        live: Which model is serving.
        admission: How many pictures are waiting.
        bodies: How many bytes of requests are in memory.
        metrics: What has happened.
        heart: Whether the model answers.
        shutdown: Set once the service has been asked to stop.
        started: Moment of the start, on `time.monotonic()`'s clock, in seconds.
    """

    settings: Settings
    live: Live
    admission: Admission
    bodies: Bodies
    metrics: Metrics
    heart: Heart
    shutdown: GracefulShutdown
    started: float

    def load(self) -> Load:
        """What is in hand now."""
        admission = self.admission
        return Load(admission.waiting, admission.waiting_pixels, self.bodies.held_bytes)
