"""Bytes of bodies in memory, and the time that a body may take."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.limits.budget import Bodies, in_time
from service.problems import Overloaded, SlowRequest
from tests.service.fixtures import (
    GatedModel,
    code_picture,
    files_of,
    happens,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


def test_bytes_are_counted_and_given_back() -> None:
    bodies = Bodies(10)
    with bodies.hold() as take, bodies.hold() as other:
        take(6)
        other(4)
        assert bodies.held_bytes == 10
        with pytest.raises(Overloaded, match="10 bytes and 10 are allowed"):
            other(1)
    assert bodies.held_bytes == 0


def test_who_is_alone_may_hold_its_own() -> None:
    bodies = Bodies(10)
    with bodies.hold() as take:
        take(8)
        take(8)
        with bodies.hold() as other, pytest.raises(Overloaded):
            other(1)
    with bodies.hold() as other:
        other(1)


def test_a_body_in_time_is_whole_and_one_too_late_is_none() -> None:
    stuck = asyncio.Event()

    async def parts(ends: bool) -> AsyncIterator[bytes]:
        yield b"a"
        yield b""
        if not ends:
            await stuck.wait()
        yield b"b"

    async def scene() -> None:
        assert [part async for part in in_time(parts(ends=True), 20.0)] == [b"a", b"", b"b"]
        with pytest.raises(SlowRequest, match=r"within 0\.02 s"):
            assert [part async for part in in_time(parts(ends=False), 0.02)]

    wait(scene())


@pytest.mark.parametrize("path", ["/predict", "/v2/models/facemask/infer"])
def test_bytes_that_wait_for_an_answer_leave_no_room_for_others(path: str, tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    picture = code_picture(9)
    settings = settings_of(tmp_path, max_bodies_bytes=len(picture) + 10)
    headers = {"content-type": "image/png"}

    async def scene() -> None:
        async with serving(settings, engine) as (client, state):
            model.armed = True
            first = asyncio.create_task(client.post("/predict", content=picture, headers=headers))
            await happens(model.entered)
            assert state.bodies.held_bytes == len(picture)
            refused = await client.post(path, content=picture, headers=headers)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["code"] == "overloaded"
            model.gate.set()
            assert (await first).status_code == 200
            assert state.bodies.held_bytes == 0
            answer = await client.post("/predict", content=picture, headers=headers)
            assert answer.status_code == 200

    wait(scene())


def test_pixels_that_wait_leave_no_room_for_others(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        settings = settings_of(tmp_path, max_waiting_pixels=3 * 32 * 32)
        async with serving(settings, engine) as (client, state):
            model.armed = True
            first = asyncio.create_task(client.post("/predict", files=files_of(1, 2)))
            await happens(model.entered)
            assert state.admission.waiting_pixels == 2 * 32 * 32
            refused = await client.post("/predict", files=files_of(3, 4))
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert "pixels" in refused.json()["detail"]
            last = asyncio.create_task(client.post("/predict", files=files_of(5)))
            model.gate.set()
            assert (await first).status_code == (await last).status_code == 200
            assert state.admission.waiting_pixels == 0

    wait(scene())
