"""The watchdog behind /livez: busy, failing and idle engines."""

import asyncio
from pathlib import Path

import pytest

from service.inference.model_manager import ModelManager
from service.inference.watchdog import Watchdog
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
    watchdog = Watchdog(model_manager, stuck_s=0.5)

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
    assert wait(Watchdog(model_manager, stuck_s=5).probe())
    model_manager.close()


def test_watchdog_handles_idleness_once(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    rests: list[int] = []
    watchdog = Watchdog(model_manager, stuck_s=0.4, on_idle=lambda: rests.append(engine.batches))

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
