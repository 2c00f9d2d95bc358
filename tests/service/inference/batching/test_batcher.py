"""Batcher: each item is answered once, by its own result or by its batch's error."""

import asyncio
import collections
import contextlib
import itertools
import logging
import queue
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from threading import Event
from typing import Any

import pytest

from service.inference.batching.batcher import Batcher, Prepared
from service.inference.batching.errors import BatcherClosed, BatchFailed, DeadlineExceeded
from tests import WAIT_S
from tests.service.fixtures import wait

_Batcher = Batcher[int, int, int]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Run:
    """One call of `run` that waits until the test releases it."""

    def __init__(self, items: list[int], alone: bool) -> None:
        self.items, self.alone = items, alone
        self.error: BaseException | None = None
        self._gate = Event()

    def go(self, error: BaseException | None = None) -> None:
        self.error = error
        self._gate.set()

    def __call__(self) -> list[int]:
        assert self._gate.wait(WAIT_S), "the run was never let go"
        if self.error is not None:
            raise self.error
        return [2 * item for item in self.items]


class Gated:
    """Doubles numbers; each run waits for the test to release it, unless the gate is open."""

    def __init__(self) -> None:
        self.prepared: list[int] = []
        self.entered: queue.Queue[Run] = queue.Queue()
        self.is_open = False

    def prepare(self, item: int, _wait_s: float) -> Prepared[int] | int:
        self.prepared.append(item)
        return Prepared(item)

    def run(self, items: list[int], alone: bool) -> Sequence[int]:
        run = Run(items, alone)
        if self.is_open:
            run.go()
        self.entered.put(run)
        return run()

    async def next(self) -> Run:
        return await asyncio.to_thread(self.entered.get, timeout=WAIT_S)


async def submit_all(
    batcher: _Batcher, *requests: Sequence[int], deadline: float = float("inf")
) -> list["asyncio.Task[list[int]]"]:
    """Submit requests in order, without waiting for their answers."""
    tasks = [asyncio.create_task(batcher.submit(items, deadline=deadline)) for items in requests]
    await asyncio.sleep(0)
    return tasks


async def hold(batcher: _Batcher, gated: Gated) -> tuple["asyncio.Task[list[int]]", Run]:
    """Keep the only lane busy with a 0, so that later requests are collected."""
    (task,) = await submit_all(batcher, [0])
    return task, await gated.next()


@contextlib.contextmanager
def threads_end(name: str) -> Iterator[None]:
    """Fail unless every thread of that name that was started inside has ended."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith(name):
            thread.join(WAIT_S)
            assert not thread.is_alive()


def scene_with(
    gated: Gated,
    scene: Callable[[_Batcher], Coroutine[Any, Any, None]],
    **options: Any,
) -> None:
    """Run a scene with a batcher around a gated run, and close it."""
    options = {"prepare": gated.prepare, "run": gated.run, "max_batch": 4, **options}
    with threads_end("lane-of-a-test"):
        batcher: _Batcher = Batcher(name="lane-of-a-test", **options)
        assert batcher.alive()
        try:
            wait(scene(batcher))
        finally:
            batcher.close()
    assert not batcher.alive()


def test_free_lane_starts_with_one_item_and_busy_lane_collects_a_batch() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        first, run = await hold(batcher, gated)
        others = await submit_all(batcher, *([n] for n in range(1, 10)))
        for items in ([1, 2, 3, 4], [5, 6, 7, 8], [9]):
            run.go()
            run = await gated.next()
            assert run.items == items
        run.go()
        assert await asyncio.gather(first, *others) == [[2 * n] for n in range(10)]

    scene_with(gated, scene)


def test_submit_returns_many_items_in_order_over_several_batches() -> None:
    gated = Gated()
    gated.is_open = True

    async def scene(batcher: _Batcher) -> None:
        assert await batcher.submit(range(11)) == [2 * n for n in range(11)]
        assert await batcher.submit([]) == []

    scene_with(gated, scene, lanes=3)


def test_requests_take_turns_one_item_each() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        held, run = await hold(batcher, gated)
        tasks = await submit_all(batcher, range(100, 164), [1], [2, 3])
        for items in ([100, 1, 2, 101], [3, 102, 103, 104]):
            run.go()
            run = await gated.next()
            assert run.items == items
        gated.is_open = True
        run.go()
        answers = await asyncio.gather(held, *tasks)
        assert answers == [[0], [2 * n for n in range(100, 164)], [2], [4, 6]]

    scene_with(gated, scene)


def test_lanes_share_the_queued_items_evenly() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        tasks = await submit_all(batcher, [0])
        first = await gated.next()
        tasks += await submit_all(batcher, [1])
        second = await gated.next()
        assert [first.items, second.items] == [[0], [1]]
        tasks += await submit_all(batcher, range(10, 16))
        first.go()
        first = await gated.next()
        assert first.items == [10, 11, 12]  # and not four of the six
        second.go()
        second = await gated.next()
        assert second.items == [13, 14]
        first.go()
        first = await gated.next()
        assert first.items == [15]
        first.go()
        second.go()
        assert await asyncio.gather(*tasks) == [[0], [2], [2 * n for n in range(10, 16)]]

    scene_with(gated, scene, lanes=2)


def test_first_lane_starts_first_and_run_receives_whether_it_is_alone() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        for _ in range(3):
            (one,) = await submit_all(batcher, [0])
            run = await gated.next()
            assert run.alone
            (two,) = await submit_all(batcher, [1])
            beside = await gated.next()
            assert not beside.alone
            run.go()
            assert await one == [0]
            (three,) = await submit_all(batcher, [2])
            run = await gated.next()
            assert not run.alone
            run.go()
            beside.go()
            assert await two == [2]
            assert await three == [4]
            # A lane is idle only some time after its last answer.
            while len(batcher._idle) < 3:
                await asyncio.sleep(0)

    scene_with(gated, scene, lanes=3)


def test_batch_is_full_at_max_cost() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        held, run = await hold(batcher, gated)
        tasks = await submit_all(batcher, [4], [5], [1], [99], [3], [20], [7])
        # What takes a batch over its bound is still in it: one must always fit.
        for items in ([4, 5, 1], [99], [3, 20], [7]):
            run.go()
            run = await gated.next()
            assert run.items == items
        run.go()
        await asyncio.gather(held, *tasks)

    scene_with(gated, scene, prepare=lambda item, _: Prepared(item, item), max_cost=10)


def test_item_answered_by_prepare_is_not_run() -> None:
    gated = Gated()
    gated.is_open = True

    async def scene(batcher: _Batcher) -> None:
        assert await batcher.submit([1, 13, 2]) == [2, -13, 4]
        assert await batcher.submit([13]) == [-13]

    def prepare(item: int, _: float) -> Prepared[int] | int:
        return -13 if item == 13 else Prepared(item)

    scene_with(gated, scene, prepare=prepare)
    assert 13 not in [item for run in gated.entered.queue for item in run.items]


def test_only_the_item_whose_prepare_raises_fails(caplog: pytest.LogCaptureFixture) -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        held, run = await hold(batcher, gated)
        bad, good = await submit_all(batcher, [13], [1])
        run.go()
        (await gated.next()).go()
        assert await held == [0]
        assert await good == [2]
        with pytest.raises(BatchFailed):
            await bad

    def prepare(item: int, _: float) -> Prepared[int] | int:
        if item == 13:
            raise ValueError("thirteen")
        return Prepared(item)

    scene_with(gated, scene, prepare=prepare)
    assert "ValueError: thirteen" in caplog.text


def test_prepare_receives_the_seconds_until_the_item_was_taken() -> None:
    gated, clock, waits = Gated(), Clock(), []

    async def scene(batcher: _Batcher) -> None:
        tasks = await submit_all(batcher, [1])
        run = await gated.next()
        tasks += await submit_all(batcher, [2])
        clock.now_s = 3.0
        gated.is_open = True
        run.go()
        await asyncio.gather(*tasks)

    def prepare(item: int, wait_s: float) -> Prepared[int] | int:
        waits.append(wait_s)
        return Prepared(item)

    scene_with(gated, scene, prepare=prepare, clock=clock)
    assert waits == [0.0, 3.0]


def test_failed_batch_raises_for_its_own_callers_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        held, run = await hold(batcher, gated)
        failing = await submit_all(batcher, [1, 2], [3, 13], [4, 5])
        (good,) = await submit_all(batcher, [6])
        run.go()
        run = await gated.next()
        assert run.items == [1, 3, 4, 6]
        run.go(ValueError("bad batch"))
        answers = await asyncio.gather(held, good, *failing, return_exceptions=True)
        assert [type(answer) for answer in answers] == [list, *[BatchFailed] * 4]
        gated.is_open = True
        assert await batcher.submit([21]) == [42]

    scene_with(gated, scene)
    assert [r.getMessage() for r in caplog.records] == ["a batch of 4 failed"]
    assert gated.prepared == [0, 1, 3, 4, 6, 21]  # the rest of what has failed is not wanted


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
def test_wrong_number_of_results_raises_batch_failed(
    results: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(batcher: _Batcher) -> None:
        with pytest.raises(BatchFailed):
            await batcher.submit([1, 2])

    scene_with(Gated(), scene, run=lambda *_: results)
    assert f"{len(results)} results for 2 items" in caplog.text


def test_items_of_a_cancelled_caller_are_not_prepared() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        first, run = await hold(batcher, gated)
        leaving = await submit_all(batcher, *([n, n] for n in range(10, 20)))
        (last,) = await submit_all(batcher, [2])
        for task in leaving:
            task.cancel()
        await asyncio.wait(leaving)
        run.go()
        run = await gated.next()
        assert run.items == [2]
        run.go()
        assert await first == [0]
        assert await last == [4]
        assert all(task.cancelled() for task in leaving)

    scene_with(gated, scene)
    assert gated.prepared == [0, 2]


def test_item_cancelled_while_the_batch_is_prepared_is_not_run() -> None:
    gated = Gated()
    preparing, prepared = Event(), Event()

    async def scene(batcher: _Batcher) -> None:
        held, run = await hold(batcher, gated)
        gone, stays = await submit_all(batcher, [1], [2])
        run.go()
        await asyncio.to_thread(preparing.wait, WAIT_S)
        gone.cancel()
        await asyncio.wait([gone])
        prepared.set()
        run = await gated.next()
        assert run.items == [2]
        run.go()
        assert await held == [0]
        assert await stays == [4]

    def prepare(item: int, _: float) -> Prepared[int] | int:
        if item == 2:
            preparing.set()
            assert prepared.wait(WAIT_S)
        return Prepared(item)

    scene_with(gated, scene, prepare=prepare)


def test_item_past_its_deadline_raises_and_is_not_prepared() -> None:
    gated, clock = Gated(), Clock()

    async def scene(batcher: _Batcher) -> None:
        (held,) = await submit_all(batcher, [0], deadline=5.0)
        run = await gated.next()
        (late,) = await submit_all(batcher, [1, 2], deadline=5.0)
        (patient,) = await submit_all(batcher, [3])
        clock.now_s = 5.0
        run.go()
        run = await gated.next()
        assert run.items == [3]
        run.go()
        assert await held == [0]  # its run had begun in time
        assert await patient == [6]
        with pytest.raises(DeadlineExceeded):
            await late

    scene_with(gated, scene, clock=clock)
    assert gated.prepared == [0, 3]


def test_item_past_its_deadline_after_prepare_is_not_run() -> None:
    gated, clock = Gated(), Clock()

    async def scene(batcher: _Batcher) -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.submit([1, 2], deadline=5.0)

    def prepare(item: int, _: float) -> Prepared[int] | int:
        clock.now_s += 3.0
        return Prepared(item)

    scene_with(gated, scene, prepare=prepare, clock=clock)
    assert gated.entered.empty()


def test_close_raises_for_queued_items_and_completes_the_batch_in_progress() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        (in_hand,) = await submit_all(batcher, [1])
        run = await gated.next()
        waiting = await submit_all(batcher, [2], [3, 4, 5])
        batcher.close()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [BatcherClosed, BatcherClosed]
        with pytest.raises(BatcherClosed):
            await batcher.submit([6])
        run.go()
        assert await in_hand == [2]
        batcher.close()

    scene_with(gated, scene)
    assert gated.prepared == [1]


def test_close_with_wait_s_waits_for_the_batch_in_progress() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        (in_hand,) = await submit_all(batcher, [1])
        run = await gated.next()
        batcher.close(wait_s=0.01)
        assert not in_hand.done()  # it was not waited for in vain
        closing = asyncio.create_task(asyncio.to_thread(batcher.close, wait_s=WAIT_S))
        run.go()
        await closing
        assert not [t for t in threading.enumerate() if t.name.startswith("lane-of-a-test")]
        assert await in_hand == [2]

    scene_with(gated, scene, lanes=2)


def test_dead_lane_raises_for_its_callers_and_restarts_after_a_back_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gated = Gated()
    begun: list[int] = []

    async def scene(batcher: _Batcher) -> None:
        for dies in (True, True, False, True):
            tasks = await submit_all(batcher, [1], [2])
            for _ in tasks:
                (await gated.next()).go(SystemExit(3) if dies else None)
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(a) for a in answers] == ([BatchFailed] * 2 if dies else [list] * 2)
        gated.is_open = True
        assert await batcher.submit([3]) == [6]
        assert batcher.alive()

    scene_with(gated, scene, max_batch=1, begin=begun.append, back_off_s=(0.0, 1e-4, 2e-4))
    rests = [record.getMessage().split()[-2] for record in caplog.records]
    assert rests == ["0", "0.0001", "0.0002", "0.0002", "0", "0.0001"]
    assert begun == [0] * 7


def test_pausing_lane_is_not_alive_and_ends_on_close() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        (task,) = await submit_all(batcher, [1])
        (await gated.next()).go(KeyboardInterrupt())
        with pytest.raises(BatchFailed):
            await task
        while batcher.alive():
            await asyncio.sleep(0)
        (waiting,) = await submit_all(batcher, [2])
        batcher.close()
        with pytest.raises(BatcherClosed):
            await waiting

    scene_with(gated, scene, back_off_s=(1e6,))


def test_busy_s_returns_the_age_of_the_oldest_batch() -> None:
    gated, clock = Gated(), Clock()

    async def scene(batcher: _Batcher) -> None:
        assert batcher.busy_s() == 0
        (first,) = await submit_all(batcher, [1])
        held = await gated.next()
        clock.now_s = 3.0
        gated.is_open = True
        assert await batcher.submit([2]) == [4]  # by the other lane
        assert batcher.busy_s() == 3
        held.go()
        await first
        while batcher.busy_s():
            await asyncio.sleep(0)

    scene_with(gated, scene, lanes=2, clock=clock)


def test_other_lanes_work_while_one_pauses() -> None:
    gated = Gated()

    async def scene(batcher: _Batcher) -> None:
        (task,) = await submit_all(batcher, [1])
        (await gated.next()).go(SystemExit())
        with pytest.raises(BatchFailed):
            await task
        gated.is_open = True
        for number in range(20):
            assert await batcher.submit([number, 5]) == [2 * number, 10]
        assert batcher.alive()

    scene_with(gated, scene, lanes=2, back_off_s=(1e6,))


def test_callers_on_several_event_loops_receive_their_own_answers() -> None:
    gated = Gated()
    answers: dict[int, list[int]] = {}
    ready = threading.Barrier(5)

    def caller(batcher: _Batcher, number: int) -> None:
        async def scene() -> None:
            tasks = await submit_all(batcher, *([100 * number + n] for n in range(20)))
            ready.wait(WAIT_S)
            answers[number] = [answer for task in tasks for answer in await task]

        wait(scene())

    async def scene(batcher: _Batcher) -> None:
        callers = [asyncio.to_thread(caller, batcher, number) for number in range(4)]
        tasks = [asyncio.create_task(coroutine) for coroutine in callers]
        await asyncio.to_thread(ready.wait, WAIT_S)
        gated.is_open = True
        (await gated.next()).go()
        await asyncio.gather(*tasks)

    scene_with(gated, scene, max_batch=64)
    assert answers == {number: [2 * (100 * number + n) for n in range(20)] for number in range(4)}


def test_closed_event_loop_of_a_caller_does_not_end_the_lane() -> None:
    gated = Gated()
    runs: list[Run] = []

    async def leaves(batcher: _Batcher) -> None:
        await submit_all(batcher, [1])
        runs.append(await gated.next())

    async def scene(batcher: _Batcher) -> None:
        # The caller's loop is closed when its answer comes.
        await asyncio.to_thread(wait, leaves(batcher))
        gated.is_open = True
        runs[0].go()
        assert await batcher.submit([2]) == [4]

    scene_with(gated, scene)


def test_batcher_raises_the_error_of_begin() -> None:
    gated = Gated()

    def begin(lane: int) -> None:
        if lane == 1:
            raise MemoryError("no room")

    with threads_end("stillborn"), pytest.raises(MemoryError, match="no room"):
        Batcher(gated.prepare, gated.run, lanes=3, max_batch=1, begin=begin, name="stillborn")


def test_begin_runs_on_each_lane_before_the_batcher_is_ready() -> None:
    begun: set[tuple[int, str]] = set()

    def begin(lane: int) -> None:
        begun.add((lane, threading.current_thread().name))

    async def scene(_: _Batcher) -> None:
        assert begun == {(lane, f"lane-of-a-test-{lane}") for lane in range(3)}

    scene_with(Gated(), scene, lanes=3, begin=begin)


class Unreliable:
    """Doubles numbers on several lanes; at random fails, dies or advances the clock."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._clock = clock
        self.prepared: collections.Counter[int] = collections.Counter()
        self.run_items: collections.Counter[int] = collections.Counter()
        self.failed: set[int] = set()

    def _chance(self, share: float) -> bool:
        with self._lock:
            return self._random.random() < share

    def prepare(self, item: int, _wait_s: float) -> Prepared[int] | int:
        with self._lock:
            self.prepared[item] += 1
            self._clock.now_s += 0.01
        if self._chance(0.02):
            self.failed.add(item)
            raise ValueError(item)
        return -item if self._chance(0.1) else Prepared(item, 1 + item % 3)

    def run(self, items: list[int], _alone: bool) -> Sequence[int]:
        assert 1 <= len(items) <= 4
        with self._lock:
            self.run_items.update(items)
        if self._chance(0.06):
            self.failed.update(items)
            raise (SystemExit if self._chance(0.3) else RuntimeError)()
        return [2 * item for item in items]


@pytest.mark.parametrize("seed", range(20))
def test_random_faults_lose_duplicate_or_misdeliver_no_answer(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    script, clock = random.Random(seed), Clock()
    engine = Unreliable(seed, clock)
    numbers = itertools.count(1)
    ended: collections.Counter[str] = collections.Counter()

    async def caller(batcher: _Batcher) -> None:
        for _ in range(12):
            items = [next(numbers) for _ in range(script.choice((1, 1, 1, 2, 5, 17)))]
            deadline = clock.now_s + script.choice((0.05, 1e9, 1e9))
            (task,) = await submit_all(batcher, items, deadline=deadline)
            leaves = script.random() < 0.2
            for _ in range(script.randrange(5)):
                await asyncio.sleep(0)
            if leaves:
                task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                assert leaves
                ended["left"] += 1
                continue
            error = task.exception()
            ended[type(error).__name__] += 1
            if error is None:
                answers = zip(items, task.result(), strict=True)
                assert all(answer in (2 * item, -item) for item, answer in answers)
            elif isinstance(error, BatchFailed):
                assert engine.failed & set(items)
            elif isinstance(error, DeadlineExceeded):
                assert clock.now_s >= deadline
            else:
                assert isinstance(error, BatcherClosed)
                assert batcher._closed

    async def scene(batcher: _Batcher) -> None:
        callers = [asyncio.create_task(caller(batcher)) for _ in range(10)]
        if seed % 4 == 0:
            while sum(ended.values()) < 50:
                await asyncio.sleep(0)
            batcher.close()
        await asyncio.gather(*callers)

    with threads_end("unreliable"):
        batcher: _Batcher = Batcher(
            engine.prepare,
            engine.run,
            lanes=1 + seed % 3,
            max_batch=4,
            max_cost=7,
            clock=clock,
            name="unreliable",
            back_off_s=(0.0,),
        )
        try:
            wait(scene(batcher))
        finally:
            batcher.close()
    assert sum(ended.values()) == 120
    assert ended["NoneType"] > 5
    assert set(engine.prepared.values()) == {1}
    assert set(engine.run_items.values()) == {1}
    assert (ended["BatcherClosed"] > 0) == (seed % 4 == 0)


def test_batcher_that_gets_no_thread_ends_the_lanes_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starting = threading.Thread.start
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        starting(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Batcher(lambda item, _: Prepared(item), lambda items, _: items, lanes=3, max_batch=1)
    started[0].join(WAIT_S)
    assert not started[0].is_alive()
