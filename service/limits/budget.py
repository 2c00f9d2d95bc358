"""Budgets: limits on the pictures, pixels or bytes in progress.

A single holder always gets its amount, even beyond the limit: otherwise a request larger than the
budget could never be answered.
"""

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from service.problems import Overloaded
from service.settings import Settings


class Budget:
    """An amount that holders share, up to a limit.

    Use a budget in one of two ways: `reserve` on the event loop, which raises if the amount does
    not fit, or `wait` on worker threads, which blocks until it fits.
    """

    def __init__(self, limit: float = math.inf, unit: str = "bytes are in use") -> None:
        """Start with nothing held.

        Args:
            limit: Max amount that several holders share.
            unit: The amount's noun and verb in refusals, such as "pictures are waiting".
        """
        self.held = 0
        self._limit = limit
        self._unit = unit
        self._turn = threading.Lock()  # keeps small amounts from overtaking a large one
        self._room = threading.Condition()

    def refuse_if_full(self) -> None:
        """Raise if nothing can be reserved now, before a request is read.

        Raises:
            Overloaded: The whole budget is held.
        """
        if self.held >= self._limit:
            raise self._overloaded()

    @contextlib.contextmanager
    def reserve(self, amount: int = 0) -> Iterator["Reservation"]:
        """Reserve an amount until the end of the `with`, and all that is added to it there.

        Raises:
            Overloaded: The amount does not fit beside the other holders'.
        """
        reservation = Reservation(self)
        try:
            if amount:
                reservation.add(amount)
            yield reservation
        finally:
            self.held -= reservation.amount

    @contextlib.contextmanager
    def wait(self, amount: int) -> Iterator[None]:
        """Block until the amount fits, in the order of the calls, and hold it in the `with`."""
        with self._turn, self._room:
            self._room.wait_for(lambda: self._fits(amount))
            self.held += amount
        try:
            yield
        finally:
            with self._room:
                self.held -= amount
                self._room.notify()

    def _fits(self, amount: int, own: int = 0) -> bool:
        return self.held == own or self.held + amount <= self._limit

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.held:,} {self._unit} and {self._limit:,} are allowed: come again."
        )


class Reservation:
    """The share of a budget that one request holds."""

    def __init__(self, budget: Budget) -> None:
        """Start with nothing."""
        self.amount = 0
        self._budget = budget

    def add(self, amount: int) -> None:
        """Reserve more.

        Raises:
            Overloaded: The amount does not fit beside the other holders'.
        """
        budget = self._budget
        if not budget._fits(amount, self.amount):
            raise budget._overloaded()
        budget.held += amount
        self.amount += amount


@dataclass(frozen=True)
class RequestBudgets:
    """The budgets that all requests share, on the event loop.

    Attributes:
        pictures: Pictures accepted and not yet answered.
        pixels: Total pixels of these pictures, by their headers.
        body_bytes: Total bytes of request bodies, including those still being read.
    """

    pictures: Budget
    pixels: Budget
    body_bytes: Budget

    @classmethod
    def from_settings(cls, settings: Settings) -> "RequestBudgets":
        """Return empty budgets with the limits of the settings."""
        return cls(
            pictures=Budget(settings.max_waiting, "pictures are waiting"),
            pixels=Budget(settings.max_waiting_pixels, "pixels are waiting"),
            body_bytes=Budget(settings.max_bodies_bytes, "bytes of requests are in memory"),
        )
