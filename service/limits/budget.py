"""Request bodies: how many bytes of them are in memory, and how long one may take to come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

from service.problems import Overloaded, SlowRequest

Take = Callable[[int], None]
"""Counts bytes that are taken into memory, or refuses them."""


class Bodies:
    """Counts the bytes of bodies, those still being read among them, up to a bound."""

    def __init__(self, limit_bytes: int) -> None:
        """Begin with none."""
        self._limit = limit_bytes
        self.held_bytes = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator[Take]:
        """Give a request what to count its bytes with; they are let go at the end of the `with`.

        A request that finds no other's bytes may always hold its own.

        Raises:
            Overloaded: From the counting, when there is no room for more.
        """
        own = 0

        def take(count: int) -> None:
            nonlocal own
            if self.held_bytes > own and self.held_bytes + count > self._limit:
                raise Overloaded(
                    f"Requests hold {self.held_bytes:,} bytes and {self._limit:,} are allowed: "
                    "come again."
                )
            self.held_bytes += count
            own += count

        try:
            yield take
        finally:
            self.held_bytes -= own


async def in_time(body: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The parts of a body, all of which must have come after so many seconds.

    Raises:
        SlowRequest: They have not.
    """
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(end):
                part = await anext(body, None)
        except TimeoutError as error:
            raise SlowRequest(f"The request's body did not come within {seconds:g} s.") from error
        if part is None:
            return
        yield part
