"""Micro-batching on lanes, which are worker threads; independent of PyTorch and HTTP.

A free lane starts at once with the queued items; items that arrive while all lanes are busy form
the next batches. There is no fixed delay: waiting for a fuller batch pays only while something
else is running. A lane takes items one by one, just before it prepares each, so that no item waits
in a busy lane while another lane is free.

    queue of requests --take--> prepare --until the batch is full--> run --> answers
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.inference.batching.errors import BatcherClosed, BatchFailed, DeadlineExceeded
from service.inference.batching.pending import In, Job, Out, PendingRequest, deliver

log = logging.getLogger("facemask")

Mid = TypeVar("Mid")

_BACK_OFF_S: Final = (0.1, 0.5, 2.0, 10.0)


@dataclass(frozen=True)
class Prepared(Generic[Mid]):
    """An item prepared for its batch, and its part of `max_cost`."""

    value: Mid
    cost: int = 0


class Batcher(Generic[In, Mid, Out]):
    """Answers requests of one or many items by running the items in batches on several threads.

    Every accepted item is answered: with its own result, with `BatchFailed` if it or its batch
    raised, with `DeadlineExceeded`, or with `BatcherClosed`. Items whose caller is gone or whose
    deadline has passed are dropped before they are prepared, and again before they are run.
    Requests take turns, one item each. The queue is unbounded: callers limit its length.
    """

    def __init__(
        self,
        prepare: Callable[[In, float], Prepared[Mid] | Out],
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
            prepare: Takes an item and the seconds that it has waited; returns it `Prepared` for
                the batch, or its answer.
            run: Takes the values of 1..max_batch items, and True if nothing else is in progress
                (on the first lane only); returns one answer each, in order.
            lanes: Number of threads. The first lane starts when all are free.
            max_batch: Max items per batch.
            max_cost: Total cost of its items from which on a batch is full as well.
            begin: Called with the lane's number on its thread before anything else, and again
                after the lane died; an exception of the first call is raised here.
            name: Name of the threads, before their number.
            clock: Returns seconds; deadlines are times on it.
            back_off_s: Seconds that a dead lane pauses, after its first, second, ... death
                without a good batch between them.
        """
        self.max_batch = max_batch
        self._prepare = prepare
        self._run = run
        self._begin = begin
        self._max_cost = max_cost
        self._clock = clock
        self._back_off_s = back_off_s
        self._lock = threading.Lock()
        self._wake = [threading.Condition(self._lock) for _ in range(lanes)]
        self._queue: deque[PendingRequest[In, Out]] = deque()
        self._queued_items = 0
        self._idle: set[int] = set()
        self._serving: set[int] = set()
        self._batch_began: dict[int, float] = {}  # time, by busy lane
        self._closed = False
        begun: list[Future[None]] = [Future() for _ in range(lanes)]
        self._threads = [
            threading.Thread(
                target=self._run_lane, args=(lane, future), name=f"{name}-{lane}", daemon=True
            )
            for lane, future in enumerate(begun)
        ]
        self._unfinished_lanes = lanes
        try:
            for thread in self._threads:
                thread.start()
            for future in begun:
                future.result()
        except BaseException:
            self.close()
            raise

    async def submit(self, items: Sequence[In], *, deadline: float = float("inf")) -> list[Out]:
        """Return the answers of one caller's items, in order.

        Args:
            items: Items to queue together; each is answered by itself.
            deadline: Time on the batcher's clock after which an answer is useless.

        Raises:
            BatchFailed: A lane failed at one of the items.
            DeadlineExceeded: The deadline passed before all items were run.
            BatcherClosed: The batcher is closed.
        """
        if not items:
            return []
        future: asyncio.Future[list[Out]] = asyncio.get_running_loop().create_future()
        request = PendingRequest(items, future, self._clock(), deadline)
        with self._lock:
            if self._closed:
                raise BatcherClosed
            self._queue.append(request)
            self._queued_items += len(items)
            for lane in sorted(self._idle)[: len(items)]:
                self._idle.discard(lane)
                self._wake[lane].notify()
        return await future  # cancelled with its caller, which is how lanes notice

    def close(self, *, wait_s: float = 0.0) -> None:
        """Answer queued items with `BatcherClosed` and let the lanes end.

        Args:
            wait_s: Max seconds to wait for the batches in progress, and so for the lanes' end.
        """
        with self._lock:
            self._closed = True
            queued: list[Job[In, Out]] = [(request, 0) for request in self._queue]
            self._queue.clear()
            self._queued_items = 0
            for wake in self._wake:
                wake.notify()
        deliver(queued, [BatcherClosed()] * len(queued))
        end = time.monotonic() + wait_s
        for thread in self._threads:
            if thread.ident is not None:  # the system may have failed to start it
                thread.join(max(0.0, end - time.monotonic()))

    def alive(self) -> bool:
        """Return True if at least one lane works or waits for work."""
        return bool(self._serving)

    def busy_s(self) -> float:
        """Return the seconds since the oldest batch in progress was begun."""
        with self._lock:
            now = self._clock()
            return now - min(self._batch_began.values(), default=now)

    def _run_lane(self, lane: int, begun: "Future[None]") -> None:
        """Run a lane to its end; the last lane drops the batcher's callables.

        Their owner usually holds the batcher, too: such a cycle, with a model in it, would stay in
        memory until the garbage collector runs.
        """
        try:
            self._work(lane, begun)
        finally:
            with self._lock:
                self._unfinished_lanes -= 1
                if not self._unfinished_lanes:
                    del self._prepare, self._run, self._begin

    def _work(self, lane: int, begun: "Future[None]") -> None:
        """Answer batches, and pause after each death, until the batcher is closed."""
        deaths = 0
        while not self._closed:
            try:
                self._begin(lane)
                with self._lock:
                    self._serving.add(lane)
                if not begun.done():
                    begun.set_result(None)
                while self._wait_for_items(lane):
                    self._answer_batch(lane)
                    deaths = 0
                return
            except BaseException as error:
                if not begun.done():
                    begun.set_exception(error)
                    return
                pause_s = self._back_off_s[min(deaths, len(self._back_off_s) - 1)]
                deaths += 1
                log.critical("lane %d died and pauses for %g s", lane, pause_s, exc_info=error)
            finally:
                with self._lock:
                    self._serving.discard(lane)
                    self._idle.discard(lane)
            with self._lock:
                self._wake[lane].wait_for(lambda: self._closed, pause_s)

    def _wait_for_items(self, lane: int) -> bool:
        """Sleep until items are queued; return False once the batcher is closed."""
        with self._lock:
            while not self._queue and not self._closed:
                self._idle.add(lane)
                self._wake[lane].wait()
            self._idle.discard(lane)
            return not self._closed

    def _answer_batch(self, lane: int) -> None:
        """Collect one batch, run it and deliver its answers."""
        with self._lock:
            self._batch_began[lane] = self._clock()
        jobs: list[Job[In, Out]] = []  # taken, prepared, and not yet answered
        values: list[Mid] = []
        cost = 0
        try:
            while cost < self._max_cost and (job := self._take_job(len(jobs))) is not None:
                jobs.append(job)
                prepared = self._prepare_job(job)
                if prepared is None:
                    jobs.pop()
                    break  # answered while it was prepared: run the batch without waiting for more
                values.append(prepared.value)
                cost += prepared.cost
            wanted = [self._is_wanted(request) for request, _ in jobs]
            jobs = [job for job, keep in zip(jobs, wanted, strict=True) if keep]
            values = [value for value, keep in zip(values, wanted, strict=True) if keep]
            if jobs:
                alone = lane == 0 and len(self._batch_began) == 1 and not self._queue
                self._run_jobs(jobs, values, alone)
        except BaseException:  # the lane ends; answer its callers first
            deliver(jobs, [BatchFailed()] * len(jobs))
            raise
        finally:
            with self._lock:
                del self._batch_began[lane]

    def _take_job(self, held: int) -> Job[In, Out] | None:
        """Return the next item that is still wanted; None if this lane has its share."""
        with self._lock:
            while self._queue:
                # Queued items are for all lanes: the others may be free in a moment.
                share = -(-(held + self._queued_items) // max(1, len(self._serving)))
                if held >= min(share, self.max_batch):
                    return None
                request = self._queue.popleft()
                if not self._is_wanted(request):
                    self._queued_items -= len(request.items) - request.taken
                    continue
                index = request.taken
                request.taken += 1
                self._queued_items -= 1
                if request.taken < len(request.items):
                    self._queue.append(request)  # behind the other requests
                return request, index
            return None

    def _is_wanted(self, request: PendingRequest[In, Out]) -> bool:
        """Return False if the caller is gone; expire the request if its deadline has passed."""
        if request.failed or request.future.done():
            return False
        if self._clock() < request.deadline:
            return True
        deliver([(request, 0)], [DeadlineExceeded()])
        return False

    def _prepare_job(self, job: Job[In, Out]) -> Prepared[Mid] | None:
        """Prepare one item; if that already gives its answer, deliver it and return None."""
        request, index = job
        try:
            outcome = self._prepare(request.items[index], self._clock() - request.accepted_at)
        except Exception as error:
            log.error("an item could not be prepared", exc_info=error)
            deliver([job], [BatchFailed()])
            return None
        if isinstance(outcome, Prepared):
            return outcome
        deliver([job], [outcome])
        return None

    def _run_jobs(self, jobs: list[Job[In, Out]], values: list[Mid], alone: bool) -> None:
        """Run a batch and deliver its answers, or `BatchFailed` to each of its callers."""
        try:
            results = self._run(values, alone)
            if len(results) != len(jobs):
                raise RuntimeError(f"{len(results)} results for {len(jobs)} items")
        except Exception as error:
            log.error("a batch of %d failed", len(jobs), exc_info=error)
            deliver(jobs, [BatchFailed()] * len(jobs))
        else:
            deliver(jobs, results)
