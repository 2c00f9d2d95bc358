"""Background threads that do not delay the end of the process."""

import asyncio
import threading

import pytest

from service.process.background import has_running_threads, run_in_background_thread
from tests import WAIT_S
from tests.service.fixtures import happens, wait


def test_run_in_background_thread_returns_result_or_raises() -> None:
    assert wait(run_in_background_thread(lambda: 7)) == 7

    def fail() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        wait(run_in_background_thread(fail))


def test_result_is_discarded_if_the_caller_is_cancelled() -> None:
    entered, gate, discarded = threading.Event(), threading.Event(), asyncio.Event()
    results: list[str] = []

    def run() -> str:
        entered.set()
        assert gate.wait(WAIT_S)
        return "late"

    def discard(result: str) -> None:
        results.append(result)
        discarded.set()

    async def scene() -> None:
        task = asyncio.create_task(run_in_background_thread(run, discard=discard))
        await happens(entered)
        assert has_running_threads()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        await discarded.wait()

    wait(scene())
    assert results == ["late"]


def test_closing_the_loop_does_not_wait_for_threads() -> None:
    entered, gate = threading.Event(), threading.Event()

    def run() -> bool:
        entered.set()
        return gate.wait(WAIT_S)

    async def scene() -> None:
        task = asyncio.create_task(run_in_background_thread(run))
        await happens(entered)
        task.cancel()

    wait(scene())
    assert has_running_threads()  # the loop is closed, and the thread still runs
    gate.set()
