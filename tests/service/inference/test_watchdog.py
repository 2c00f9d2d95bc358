"""The watchdog behind /livez: busy, failing and idle engines."""

import asyncio
import time
from pathlib import Path

import pytest
import torch

from service.inference.model_manager import ModelManager
from service.inference.watchdog import Watchdog
from tests import WAIT_S
from tests.service.fixtures import (
    GatedModel,
    happens,
    make_engine,
    publish_bundle,
    wait,
)


def test_watchdog_passes_a_busy_worker(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    watchdog = Watchdog(model_manager, stuck_s=2)

    async def scene() -> None:
        model.armed = True
        answering = asyncio.create_task(watchdog.probe())
        await happens(model.entered)
        engine.batches += 1  # another one was answered meanwhile
        assert await answering
        model.gate.set()

    wait(scene())
    model_manager.close()


@pytest.mark.parametrize("failure", [ValueError("a bug"), MemoryError()])
def test_watchdog_passes_a_failing_model(failure: Exception, tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    model.failure = failure
    assert wait(Watchdog(model_manager, stuck_s=WAIT_S).probe())
    model_manager.close()


def test_watchdog_handles_idleness_once(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    rests: list[int] = []
    watchdog = Watchdog(model_manager, stuck_s=1, on_idle=lambda: rests.append(engine.batches))

    async def scene() -> None:
        watching = asyncio.create_task(watchdog.run())
        while not rests:
            await asyncio.sleep(0)
        while engine.batches < rests[0] + 3:  # asked blank pictures, and by nobody else
            await asyncio.sleep(0)
        assert len(rests) == 1
        while watchdog.idle_handled:
            engine.batches += 1  # busy, until it is seen that it is
            await asyncio.sleep(0)
        while len(rests) == 1:
            await asyncio.sleep(0)
        watching.cancel()

    wait(scene())
    model_manager.close()


class Clock:
    """A clock that a test sets forward, as a pause of the process does."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def test_pause_of_the_process_does_not_count_as_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    began = 0.0
    monkeypatch.setattr(engine, "busy_s", lambda: clock() - began if model.armed else 0.0)
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    watchdog = Watchdog(model_manager, stuck_s=2.0, clock=clock)
    found: list[bool] = []
    hangs = watchdog._hangs

    def recorded() -> bool:
        found.append(hangs())
        return found[-1]

    monkeypatch.setattr(watchdog, "_hangs", recorded)

    async def scene() -> None:
        nonlocal began
        model.armed, began = True, clock()
        answering = asyncio.create_task(engine.predict([torch.zeros((3, 32, 32)).byte()]))
        await happens(model.entered)
        watching = asyncio.create_task(watchdog.run())
        await asyncio.sleep(0)  # its first wait begins
        clock.ahead_s += 3600.0  # paused within the batch
        while not found:
            await asyncio.sleep(0.01)
        assert found == [False]
        assert not watchdog.stuck
        while not watchdog.stuck:  # but a hang is one, pause or not
            await asyncio.sleep(0.05)
        model.gate.set()
        await answering
        watching.cancel()

    wait(scene())
    model_manager.close()


def test_watchdog_continues_after_a_failed_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    idle = 0

    def fail_once() -> None:
        nonlocal idle
        idle += 1
        raise RuntimeError("can't start new thread")

    watchdog = Watchdog(model_manager, stuck_s=1, on_idle=fail_once)

    async def scene() -> None:
        watching = asyncio.create_task(watchdog.run())
        while not idle:
            await asyncio.sleep(0.01)
        before = engine.batches
        while engine.batches < before + 2:  # probed again
            await asyncio.sleep(0.01)
        assert not watching.done()
        watching.cancel()

    wait(scene())
    assert caplog.text.count("the watchdog could not check the model") == idle == 1
    model_manager.close()
