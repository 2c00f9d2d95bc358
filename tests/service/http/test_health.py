"""/livez and /readyz: no answer is sent where none will come, and no process kept that hangs."""

import asyncio
from pathlib import Path

import pytest

from service.inference.model_manager import ModelManager
from service.inference.watchdog import Watchdog
from tests.service.fixtures import (
    GatedModel,
    files_of,
    happens,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


def test_without_a_model_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path / "none")) as (client, _):
            assert (await client.get("/livez")).json() == {"status": "ok"}
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.json()["code"] == "no_model"

    wait(scene())


def test_with_a_model_it_is_ready_until_it_is_told_to_stop(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, state):
            assert (await client.get("/readyz")).status_code == 200
            state.shutdown.requested = True
            response = await client.get("/readyz")
            assert (response.status_code, response.json()["code"]) == (503, "stopping")
            assert response.headers["connection"] == "close"
            assert (await client.get("/livez")).status_code == 200
            assert (await client.post("/predict", files=files_of(5))).status_code == 200

    wait(scene())


def test_a_worker_that_has_died_is_neither_ready_nor_alive(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path, stuck_s=0.01), engine) as (client, state):
            engine.close()
            while engine.alive():
                await asyncio.sleep(0)
            response = await client.get("/readyz")
            assert (response.status_code, response.json()["code"]) == (503, "stuck")
            while not state.watchdog.stuck:
                await asyncio.sleep(0)
            response = await client.get("/livez")
            assert (response.status_code, response.json()["code"]) == (503, "stuck")
            assert response.headers["retry-after"] == "5"

    wait(scene())


def test_a_worker_that_hangs_is_told_from_one_that_is_idle(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, stuck_s=0.05), engine) as (client, state):
            assert await state.watchdog.probe()
            model.armed = True
            asked = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            assert not await state.watchdog.probe()
            while not state.watchdog.stuck:
                await asyncio.sleep(0)
            assert (await client.get("/livez")).status_code == 503
            model.gate.set()
            assert (await asked).status_code == 200
            while state.watchdog.stuck:
                await asyncio.sleep(0)
            assert (await client.get("/livez")).status_code == 200

    wait(scene())


def test_a_lane_that_hangs_is_noticed_while_another_answers(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model, threads=2)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, stuck_s=0.05), engine) as (client, state):
            model.armed = True
            hanging = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            model.armed = False
            while not state.watchdog.stuck:
                assert (await client.post("/predict", files=files_of(2))).status_code == 200
            assert (await client.get("/livez")).status_code == 503
            model.gate.set()
            assert (await hanging).status_code == 200
            while state.watchdog.stuck:
                await asyncio.sleep(0)
            assert (await client.get("/livez")).status_code == 200

    wait(scene())


def test_a_busy_worker_is_not_taken_for_a_stuck_one(tmp_path: Path) -> None:
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
def test_a_model_that_fails_is_not_stuck(failure: Exception, tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    model_manager = ModelManager(tmp_path, start=lambda path: engine, poll_s=1)
    model_manager.serve(engine)
    model.failure = failure
    assert wait(Watchdog(model_manager, stuck_s=5).probe())
    model_manager.close()


def test_a_service_that_has_become_quiet_rests_once(tmp_path: Path) -> None:
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
