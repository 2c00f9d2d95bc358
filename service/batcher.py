"""Micro-batching for one worker thread; knows neither PyTorch nor HTTP.

An idle worker starts at once with what is there; a busy one collects until it is free. There
is no fixed delay: waiting for a fuller batch only pays while something else is running, and
then it happens by itself.
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger("facemask")

In = TypeVar("In")
Out = TypeVar("Out")


class BatcherClosed(Exception):
    """Work was handed to a batcher that has been closed."""


class BatchFailed(Exception):
    """The worker failed at the batch that this item was part of."""


@dataclass(frozen=True)
class _Job(Generic[In, Out]):
    item: In
    future: asyncio.Future[Out]


class Batcher(Generic[In, Out]):
    """Answers single items by running them in batches on a thread of its own.

    Every item that was accepted is answered: with its own result, with `BatchFailed` if the
    batch raised, or with `BatcherClosed`. An item whose caller has gone is dropped before it
    is run. The queue has no bound here: who submits bounds what may be waiting.
    """

    def __init__(
        self,
        run: Callable[[list[In]], Sequence[Out]],
        *,
        max_batch: int,
        begin: Callable[[], None] = lambda: None,
        name: str = "batcher",
    ) -> None:
        """Start the worker and wait until it has begun.

        Args:
            run: Takes 1..max_batch items, returns one result each, in order.
            max_batch: Most items at a time.
            begin: Called once on the worker's thread before anything else; what it raises
                is raised here.
            name: Of the thread.
        """
        self._run = run
        self._max_batch = max_batch
        self._jobs: deque[_Job[In, Out]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        begun: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._work, args=(begin, begun), name=name, daemon=True
        )
        self._thread.start()
        begun.result()

    async def submit(self, items: Sequence[In]) -> list[Out]:
        """Have items answered, in order.

        Raises:
            BatchFailed: The worker failed at one of them.
            BatcherClosed: The batcher has been closed.
        """
        loop = asyncio.get_running_loop()
        jobs = [_Job(item, loop.create_future()) for item in items]
        with self._changed:
            if self._closed:
                raise BatcherClosed
            self._jobs.extend(jobs)
            self._changed.notify()
        try:
            return list(await asyncio.gather(*(job.future for job in jobs)))
        finally:
            for job in jobs:  # the caller has gone, or one failed: the rest is not wanted
                job.future.cancel()

    def close(self) -> None:
        """Answer what is waiting with `BatcherClosed` and let the worker end."""
        with self._changed:
            self._closed = True
            waiting = list(self._jobs)
            self._jobs.clear()
            self._changed.notify()
        _deliver(waiting, error=BatcherClosed())

    def alive(self) -> bool:
        """Whether the worker's thread is running."""
        return self._thread.is_alive()

    def _work(self, begin: Callable[[], None], begun: Future[None]) -> None:
        try:
            begin()
        except BaseException as error:  # noqa: BLE001  raised again where the batcher is made
            begun.set_exception(error)
            return
        begun.set_result(None)
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._take()
            if batch:
                self._answer(batch)

    def _take(self) -> list[_Job[In, Out]]:
        batch: list[_Job[In, Out]] = []
        while self._jobs and len(batch) < self._max_batch:
            job = self._jobs.popleft()
            if not job.future.cancelled():
                batch.append(job)
        return batch

    def _answer(self, batch: list[_Job[In, Out]]) -> None:
        try:
            results = self._run([job.item for job in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as error:
            log.error("a batch of %d failed", len(batch), exc_info=error)
            _deliver(batch, error=BatchFailed())
        else:
            _deliver(batch, results=results)


def _deliver(
    jobs: Sequence[_Job[In, Out]],
    *,
    results: Sequence[Out] = (),
    error: Exception | None = None,
) -> None:
    """Hand over answers on the loop that each caller waits on, one wake-up a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[int]] = {}
    for place, job in enumerate(jobs):
        by_loop.setdefault(job.future.get_loop(), []).append(place)

    def hand_over(places: list[int]) -> None:
        for place in places:
            future = jobs[place].future
            if future.done():
                continue
            if error is None:
                future.set_result(results[place])
            else:
                future.set_exception(error)

    for loop, places in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(hand_over, places)
