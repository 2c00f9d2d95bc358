"""Micro-batching: each item is answered once, by its own result or by its batch's error."""

import asyncio
import collections
import itertools
import threading
from collections.abc import Callable, Coroutine, Sequence
from threading import Event
from typing import Any

import pytest

from service.batcher import Batcher, BatcherClosed, BatchFailed
from tests.service_fixtures import WAIT_S, happens, wait


class Doubling:
    """A `run` that doubles numbers, remembers its batches, and waits at a gate while armed."""

    def __init__(self, *, armed: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.armed = armed
        self.entered, self.gate = Event(), Event()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        if self.armed:
            self.entered.set()
            assert self.gate.wait(WAIT_S)
        return [2 * item for item in items]


async def tasks_of(*coroutines: Coroutine[Any, Any, list[int]]) -> list["asyncio.Task[list[int]]"]:
    """Start coroutines, in order, up to where they wait."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


def with_batcher(
    run: Callable[[list[int]], Sequence[int]],
    scene: Callable[[Batcher[int, int]], Coroutine[Any, Any, None]],
    *,
    max_batch: int = 4,
) -> None:
    batcher = Batcher(run, max_batch=max_batch, name="batcher-of-a-test")
    thread = next(t for t in threading.enumerate() if t.name == "batcher-of-a-test")
    try:
        wait(scene(batcher))
        assert batcher.alive()
    finally:
        batcher.close()
        thread.join(WAIT_S)
    assert not batcher.alive()


def test_an_idle_worker_starts_with_one_and_a_busy_one_collects() -> None:
    run = Doubling(armed=True)

    async def scene(batcher: Batcher[int, int]) -> None:
        (first,) = await tasks_of(batcher.submit([0]))
        await happens(run.entered)
        others = await tasks_of(*(batcher.submit([n]) for n in range(1, 10)))
        assert run.batches == [[0]]
        run.gate.set()
        assert await asyncio.gather(first, *others) == [[2 * n] for n in range(10)]
        assert run.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]

    with_batcher(run, scene)


def test_one_caller_with_many_items_has_them_in_order_over_several_batches() -> None:
    run = Doubling()

    async def scene(batcher: Batcher[int, int]) -> None:
        assert await batcher.submit(range(11)) == [2 * n for n in range(11)]
        assert await batcher.submit([]) == []
        assert [len(batch) for batch in run.batches] == [4, 4, 3]

    with_batcher(run, scene)


def test_an_error_reaches_the_callers_of_its_batch_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    doubling = Doubling(armed=True)

    def run(items: list[int]) -> Sequence[int]:
        results = doubling(items)
        if 13 in items:
            raise ValueError("thirteen")
        return results

    async def scene(batcher: Batcher[int, int]) -> None:
        (first,) = await tasks_of(batcher.submit([0]))
        await happens(doubling.entered)
        tasks = await tasks_of(
            *(batcher.submit(items) for items in ([1, 2], [3, 13], [4, 5], [13, 6, 7, 8, 9]))
        )
        doubling.gate.set()
        answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert answers[0] == [0]
        assert [type(answer) for answer in answers[1:3]] == [BatchFailed, BatchFailed]
        assert isinstance(answers[3], BatchFailed)  # shares its batch with the second thirteen
        assert isinstance(answers[4], BatchFailed)
        assert doubling.batches[:3] == [[0], [1, 2, 3, 13], [4, 5, 13, 6]]
        assert await batcher.submit([21]) == [42]

    with_batcher(run, scene)
    assert [record.getMessage() for record in caplog.records] == ["a batch of 4 failed"] * 2


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_results_is_an_error(
    results: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(batcher: Batcher[int, int]) -> None:
        with pytest.raises(BatchFailed):
            await batcher.submit([1, 2])

    with_batcher(lambda _: results, scene)
    assert f"{len(results)} results for 2 items" in caplog.text


def test_who_has_gone_is_not_run() -> None:
    run = Doubling(armed=True)

    async def scene(batcher: Batcher[int, int]) -> None:
        first, gone_while_run = await tasks_of(batcher.submit([0]), batcher.submit([1]))
        await happens(run.entered)
        leaving = await tasks_of(*(batcher.submit([n, n]) for n in range(10, 20)))
        (last,) = await tasks_of(batcher.submit([2]))
        for task in [*leaving, gone_while_run]:
            task.cancel()
        await asyncio.wait(leaving)
        run.gate.set()
        assert await last == [4]
        assert await first == [0]
        assert all(task.cancelled() for task in [*leaving, gone_while_run])
        assert sorted(itertools.chain(*run.batches)) in ([0, 2], [0, 1, 2])

    with_batcher(run, scene)


def test_a_whole_queue_of_callers_who_have_gone_runs_nothing() -> None:
    run = Doubling(armed=True)

    async def scene(batcher: Batcher[int, int]) -> None:
        (first,) = await tasks_of(batcher.submit([0]))
        await happens(run.entered)
        (gone,) = await tasks_of(batcher.submit([1, 2]))
        gone.cancel()
        await asyncio.wait([gone])
        run.gate.set()
        assert await first == [0]
        assert await batcher.submit([3]) == [6]
        assert run.batches == [[0], [3]]

    with_batcher(run, scene)


def test_closing_answers_who_waits_and_lets_the_batch_in_hand_end() -> None:
    run = Doubling(armed=True)
    batcher = Batcher(run, max_batch=2)

    async def scene() -> None:
        (in_hand,) = await tasks_of(batcher.submit([1]))
        await happens(run.entered)
        waiting = await tasks_of(batcher.submit([2]), batcher.submit([3, 4, 5]))
        batcher.close()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [BatcherClosed, BatcherClosed]
        with pytest.raises(BatcherClosed):
            await batcher.submit([6])
        run.gate.set()
        assert await in_hand == [2]
        batcher.close()

    wait(scene())
    assert run.batches == [[1]]


def test_callers_on_several_event_loops_have_their_own_answers() -> None:
    run = Doubling(armed=True)
    batcher = Batcher(run, max_batch=64)
    answers: dict[int, list[int]] = {}
    ready = threading.Barrier(5)

    def caller(number: int) -> None:
        async def scene() -> None:
            tasks = await tasks_of(*(batcher.submit([100 * number + n]) for n in range(20)))
            ready.wait(WAIT_S)
            answers[number] = [answer for task in tasks for answer in await task]

        wait(scene())

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    ready.wait(WAIT_S)
    run.gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    batcher.close()
    assert answers == {number: [2 * (100 * number + n) for n in range(20)] for number in range(4)}


def test_a_loop_that_has_ended_does_not_end_the_worker() -> None:
    run = Doubling(armed=True)

    async def leaves(batcher: Batcher[int, int]) -> None:
        await tasks_of(batcher.submit([1]))
        await happens(run.entered)

    async def scene(batcher: Batcher[int, int]) -> None:
        assert await batcher.submit([2]) == [4]

    def both(batcher: Batcher[int, int]) -> Coroutine[Any, Any, None]:
        wait(leaves(batcher))
        run.gate.set()
        return scene(batcher)

    with_batcher(run, both)


def test_a_loop_that_ends_at_the_hand_over_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Doubling(armed=True)

    async def leaves(batcher: Batcher[int, int]) -> None:
        await tasks_of(batcher.submit([1]))
        await happens(run.entered)
        # It looks open to the worker, and is closed when the answer is handed over.
        monkeypatch.setattr(asyncio.get_running_loop(), "is_closed", lambda: False, raising=False)

    async def scene(batcher: Batcher[int, int]) -> None:
        assert await batcher.submit([2]) == [4]

    def both(batcher: Batcher[int, int]) -> Coroutine[Any, Any, None]:
        loop = asyncio.new_event_loop()
        task = loop.create_task(leaves(batcher))
        loop.run_until_complete(task)
        for left in asyncio.all_tasks(loop):
            left.cancel()
            loop.run_until_complete(asyncio.wait([left]))
        loop.call_soon_threadsafe = _closed  # type: ignore[method-assign,assignment]
        loop.close()
        run.gate.set()
        return scene(batcher)

    with_batcher(run, both)


def _closed(*_: Any) -> None:
    raise RuntimeError("Event loop is closed")


def test_ten_thousand_items_are_each_answered_once_and_to_who_asked() -> None:
    run = Doubling()

    async def caller(batcher: Batcher[int, int], first: int) -> None:
        for start in range(first, first + 100, 5):
            items = range(start, start + 5)
            assert await batcher.submit(items) == [2 * item for item in items]

    async def scene(batcher: Batcher[int, int]) -> None:
        await asyncio.gather(*(caller(batcher, 100 * number) for number in range(100)))

    with_batcher(run, scene, max_batch=16)
    seen = collections.Counter(item for batch in run.batches for item in batch)
    assert seen == collections.Counter(range(10_000))
    assert max(len(batch) for batch in run.batches) <= 16


def test_the_worker_begins_on_its_own_thread_before_it_is_ready() -> None:
    begun: list[str] = []

    def begin() -> None:
        begun.append(threading.current_thread().name)

    batcher = Batcher(Doubling(), max_batch=1, begin=begin, name="worker-of-a-test")
    assert begun == ["worker-of-a-test"]
    assert batcher.alive()
    batcher.close()


def test_a_failed_beginning_is_raised_where_the_batcher_is_made() -> None:
    def begin() -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        Batcher(Doubling(), max_batch=1, begin=begin, name="stillborn")
    for thread in threading.enumerate():
        if thread.name == "stillborn":
            thread.join(WAIT_S)
    assert "stillborn" not in {thread.name for thread in threading.enumerate()}
