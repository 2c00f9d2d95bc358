"""Time in which the process ran, pauses left out."""

import asyncio

import pytest

from service.process.running_time import RunningTime


class Clock:
    """A clock that moves only when something sleeps, and further at a pause."""

    def __init__(self, pauses: dict[int, float]) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self._pauses = pauses  # by the number of the sleep

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self._pauses.get(len(self.sleeps), 0.0)
        self.sleeps.append(seconds)


@pytest.fixture(name="paused")
def _paused(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock({1: 100.0})
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    return clock


def test_wait_lasts_as_long_as_the_process_has_to_run(paused: Clock) -> None:
    asyncio.run(RunningTime(paused).wait(2.5))
    assert paused.sleeps == [1.0, 1.0, 0.5]
    assert paused.now == 102.5


def test_span_of_time_is_counted_without_its_pauses(paused: Clock) -> None:
    running = RunningTime(paused)
    asyncio.run(running.wait(2.5))
    assert running.elapsed_in_last(102.0) == 2.0
    assert running.elapsed_in_last(0.25) == 0.25  # begun after the pause


def test_wait_ends_with_its_future() -> None:
    async def scene() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        await asyncio.wait_for(RunningTime().wait(60.0, future), 5)

    asyncio.run(scene())
