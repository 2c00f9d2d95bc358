"""Micro-batching for lanes, one thread each; knows neither PyTorch nor HTTP.

A free lane starts at once with what is there; what comes while all are busy is collected by
itself. There is no fixed delay: waiting for a fuller batch only pays while something else is
running. A lane takes items one by one, just before it prepares each, so that nothing lies in
one lane's hands while another is free.

    queue of requests --take--> prepare --until the share is full--> run --> answers
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

log = logging.getLogger("facemask")

In = TypeVar("In")
Mid = TypeVar("Mid")
Out = TypeVar("Out")

_BACK_OFF_S: Final = (0.1, 0.5, 2.0, 10.0)


class BatcherClosed(Exception):
    """Work was handed to a batcher that has been closed."""


class BatchFailed(Exception):
    """The lane failed at this item, or at the batch that it was part of."""


class TooLate(Exception):
    """The deadline passed before the item was run."""


@dataclass(frozen=True)
class Ready(Generic[Mid]):
    """An item that is prepared for its batch, and its share of what a batch may cost."""

    value: Mid
    cost: int = 0


@dataclass
class _Request(Generic[In, Out]):
    """Items of one caller.

    Attributes:
        taken: How many of the items lanes have taken.
        failed: Whether an error is on its way to the caller, so that the rest is not wanted.
        answers: By place among the items; only the caller's event loop touches it.
    """

    items: Sequence[In]
    future: "asyncio.Future[list[Out]]"
    since: float
    deadline: float
    taken: int = 0
    failed: bool = False
    answers: dict[int, Out] = field(default_factory=dict)

    def answer(self, index: int, result: Out | Exception) -> None:
        """Take one item's answer, on the caller's loop; an error answers the whole request."""
        if self.future.done():
            return
        if isinstance(result, _ERRORS):
            self.future.set_exception(result)
            return
        self.answers[index] = result  # type: ignore[assignment]
        if len(self.answers) == len(self.items):
            self.future.set_result([self.answers[place] for place in range(len(self.items))])


_ERRORS: Final = (BatcherClosed, BatchFailed, TooLate)
_Job = tuple[_Request[In, Out], int]


class Batcher(Generic[In, Mid, Out]):
    """Answers requests of one or many items by running these in batches on several threads.

    Every item that was accepted is answered: with its own result, with `BatchFailed` if it or
    its batch raised, with `TooLate`, or with `BatcherClosed`. Items whose caller has gone or
    whose deadline has passed are dropped before they are prepared, and again before they are
    run. Requests take turns, an item each. The queue has no bound here: who submits bounds
    what may be waiting.
    """

    def __init__(
        self,
        prepare: Callable[[In, float], Ready[Mid] | Out],
        run: Callable[[list[Mid], bool], Sequence[Out]],
        *,
        lanes: int = 1,
        max_batch: int,
        max_cost: int = 1,
        begin: Callable[[int], None] = lambda _: None,
        name: str = "lane",
        clock: Callable[[], float] = time.monotonic,
        back_off_s: Sequence[float] = _BACK_OFF_S,
    ) -> None:
        """Start the lanes and wait until each has begun.

        Args:
            prepare: Takes an item and the seconds that it has waited; returns it `Ready` for
                the batch, or its answer.
            run: Takes what 1..max_batch items became, and whether they alone are in hand
                (told to the first lane only); returns one answer each, in order.
            lanes: Threads. The first is the one that starts when all are free.
            max_batch: Most items a batch.
            max_cost: A batch is full, too, once its items cost so much together.
            begin: Called with the lane's number on its thread before anything else, and
                again after it died; what it raises the first time is raised here.
            name: Of the threads, before their number.
            clock: Seconds; deadlines are on it.
            back_off_s: How long a lane that died rests, after its first, second, ... death
                without a good batch between them.
        """
        self.max_batch = max_batch
        self._prepare = prepare
        self._run = run
        self._begin = begin
        self._max_cost = max_cost
        self._clock = clock
        self._back_off_s = back_off_s
        lock = threading.Lock()
        self._lock = lock
        self._wake = [threading.Condition(lock) for _ in range(lanes)]
        self._queue: deque[_Request[In, Out]] = deque()
        self._waiting = 0  # items in the queue
        self._idle: set[int] = set()
        self._serving: set[int] = set()
        self._since: dict[int, float] = {}  # of lanes at work: the moment that each began
        self._closed = False
        begun: list[Future[None]] = [Future() for _ in range(lanes)]
        self._threads = [
            threading.Thread(
                target=self._live, args=(lane, future), name=f"{name}-{lane}", daemon=True
            )
            for lane, future in enumerate(begun)
        ]
        self._left = lanes  # that have not ended
        for thread in self._threads:
            thread.start()
        try:
            for future in begun:
                future.result()
        except BaseException:
            self.close()
            raise

    async def submit(self, items: Sequence[In], *, deadline: float = float("inf")) -> list[Out]:
        """Have items answered, in order.

        Args:
            items: Of one caller.
            deadline: Moment on the batcher's clock after which an answer is of no use.

        Raises:
            BatchFailed: A lane failed at one of them.
            TooLate: The deadline passed before all were run.
            BatcherClosed: The batcher has been closed.
        """
        if not items:
            return []
        future: asyncio.Future[list[Out]] = asyncio.get_running_loop().create_future()
        request = _Request(items, future, self._clock(), deadline)
        with self._lock:
            if self._closed:
                raise BatcherClosed
            self._queue.append(request)
            self._waiting += len(items)
            for lane in sorted(self._idle)[: len(items)]:
                self._idle.discard(lane)
                self._wake[lane].notify()
        return await future  # cancelled with its caller, by which lanes know

    def close(self, *, wait_s: float = 0.0) -> None:
        """Answer what is waiting with `BatcherClosed` and let the lanes end.

        Args:
            wait_s: Most seconds to wait for the batches in hand, and so for the lanes' end.
        """
        with self._lock:
            self._closed = True
            waiting: list[_Job[In, Out]] = [(request, 0) for request in self._queue]
            self._queue.clear()
            self._waiting = 0
            for wake in self._wake:
                wake.notify()
        _deliver(waiting, [BatcherClosed()] * len(waiting))
        end = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def alive(self) -> bool:
        """Whether a lane is working or ready to."""
        return bool(self._serving)

    def busy_s(self) -> float:
        """Seconds that the lane that is longest at its present batch has been at it."""
        with self._lock:
            now = self._clock()
            return now - min(self._since.values(), default=now)

    def _live(self, lane: int, begun: "Future[None]") -> None:
        """A lane's whole life; the last one to end lets go of what the lanes worked for.

        Who made the batcher mostly holds it, too: such a circle, with a model in it, would lie in
        memory until the garbage collector comes by.
        """
        try:
            self._work(lane, begun)
        finally:
            with self._lock:
                self._left -= 1
                if not self._left:
                    del self._prepare, self._run, self._begin

    def _work(self, lane: int, begun: "Future[None]") -> None:
        """Work, and rest after each death, until the batcher is closed."""
        deaths = 0
        while not self._closed:
            try:
                self._begin(lane)
                with self._lock:
                    self._serving.add(lane)
                if not begun.done():
                    begun.set_result(None)
                while self._wait(lane):
                    self._turn(lane)
                    deaths = 0
                return
            except BaseException as error:
                if not begun.done():
                    begun.set_exception(error)
                    return
                rest_s = self._back_off_s[min(deaths, len(self._back_off_s) - 1)]
                deaths += 1
                log.critical("lane %d died and rests for %g s", lane, rest_s, exc_info=error)
            finally:
                with self._lock:
                    self._serving.discard(lane)
                    self._idle.discard(lane)
            with self._lock:
                self._wake[lane].wait_for(lambda: self._closed, rest_s)

    def _wait(self, lane: int) -> bool:
        """Sleep until there may be something to do; False once the batcher is closed."""
        with self._lock:
            while not self._queue and not self._closed:
                self._idle.add(lane)
                self._wake[lane].wait()
            self._idle.discard(lane)
            return not self._closed

    def _turn(self, lane: int) -> None:
        """Collect one batch, run it and hand over its answers."""
        with self._lock:
            self._since[lane] = self._clock()
        jobs: list[_Job[In, Out]] = []  # taken, ready, and not yet answered
        values: list[Mid] = []
        cost = 0
        try:
            while cost < self._max_cost and (job := self._take(len(jobs))) is not None:
                jobs.append(job)
                ready = self._prepared(job)
                if ready is None:
                    jobs.pop()
                    break  # preparing it may have been all the work: what is ready waits no longer
                values.append(ready.value)
                cost += ready.cost
            wanted = [self._wanted(request) for request, _ in jobs]
            jobs = [job for job, keep in zip(jobs, wanted, strict=True) if keep]
            values = [value for value, keep in zip(values, wanted, strict=True) if keep]
            if jobs:
                alone = lane == 0 and len(self._since) == 1 and not self._queue
                self._answer(jobs, values, alone)
        except BaseException:  # the lane dies of it, and its callers must not wait
            _deliver(jobs, [BatchFailed()] * len(jobs))
            raise
        finally:
            with self._lock:
                del self._since[lane]

    def _take(self, held: int) -> _Job[In, Out] | None:
        """The next item that is still wanted, or None if this lane has its share."""
        with self._lock:
            while self._queue:
                # What waits is for all lanes: the others may be free in a moment.
                share = -(-(held + self._waiting) // max(1, len(self._serving)))
                if held >= min(share, self.max_batch):
                    return None
                request = self._queue.popleft()
                if not self._wanted(request):
                    self._waiting -= len(request.items) - request.taken
                    continue
                index = request.taken
                request.taken += 1
                self._waiting -= 1
                if request.taken < len(request.items):
                    self._queue.append(request)  # the others' turn
                return request, index
            return None

    def _wanted(self, request: _Request[In, Out]) -> bool:
        """Whether somebody still waits for a request's answer; who waits too long is told."""
        if request.failed or request.future.done():
            return False
        if self._clock() < request.deadline:
            return True
        _deliver([(request, 0)], [TooLate()])
        return False

    def _prepared(self, job: _Job[In, Out]) -> Ready[Mid] | None:
        """Prepare one item; if that already answers it, hand over the answer."""
        request, index = job
        try:
            outcome = self._prepare(request.items[index], self._clock() - request.since)
        except Exception as error:
            log.error("an item could not be prepared", exc_info=error)
            _deliver([job], [BatchFailed()])
            return None
        if isinstance(outcome, Ready):
            return outcome
        _deliver([job], [outcome])
        return None

    def _answer(self, jobs: list[_Job[In, Out]], values: list[Mid], alone: bool) -> None:
        try:
            results = self._run(values, alone)
            if len(results) != len(jobs):
                raise RuntimeError(f"{len(results)} results for {len(jobs)} items")
        except Exception as error:
            log.error("a batch of %d failed", len(jobs), exc_info=error)
            _deliver(jobs, [BatchFailed()] * len(jobs))
        else:
            _deliver(jobs, results)


def _deliver(jobs: Sequence[_Job[In, Out]], results: Sequence[Any]) -> None:
    """Hand over answers or errors on the loop that each caller waits on, one wake-up a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Job[In, Out], Any]]] = {}
    for job, result in zip(jobs, results, strict=True):
        job[0].failed |= isinstance(result, _ERRORS)
        by_loop.setdefault(job[0].future.get_loop(), []).append((job, result))

    def hand_over(answers: list[tuple[_Job[In, Out], Any]]) -> None:
        for (request, index), result in answers:
            request.answer(index, result)

    for loop, answers in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(hand_over, answers)
