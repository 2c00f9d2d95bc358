"""Budgets: refusal, waiting, and release."""

import asyncio
import threading
from pathlib import Path

import pytest

from service.limits.budget import Budget
from service.problems import Overloaded
from tests import WAIT_S
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


def test_reserve_raises_overloaded_beyond_the_limit_and_releases_at_the_end() -> None:
    budget = Budget(3, "pictures are waiting")
    with budget.reserve(1), budget.reserve(2):
        assert budget.held == 3
        with (
            pytest.raises(Overloaded, match="3 pictures are waiting and 3 are allowed"),
            budget.reserve(1),
        ):
            pass
        assert budget.held == 3
    with pytest.raises(KeyError), budget.reserve(2):
        raise KeyError
    assert budget.held == 0


def test_refuse_if_full_raises_only_while_the_whole_budget_is_held() -> None:
    budget = Budget(3, "pictures are waiting")
    with budget.reserve(3), pytest.raises(Overloaded, match="3 pictures are waiting"):
        budget.refuse_if_full()
    with budget.reserve(2):
        budget.refuse_if_full()


def test_reservations_grow_until_the_budget_is_full() -> None:
    budget = Budget(10)
    with budget.reserve() as first, budget.reserve() as second:
        first.add(6)
        second.add(4)
        assert budget.held == 10
        with pytest.raises(Overloaded, match="10 are allowed"):
            second.add(1)
    assert budget.held == 0


def test_a_reservation_without_others_may_exceed_the_limit() -> None:
    budget = Budget(10)
    with budget.reserve(8) as alone:
        alone.add(8)
        with budget.reserve() as other, pytest.raises(Overloaded):
            other.add(1)
    with budget.reserve(1000):
        pass
    assert budget.held == 0


class Holder:
    """A thread that holds an amount until it is released."""

    def __init__(self, budget: Budget, amount: int) -> None:
        self.holds, self._released = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(budget, amount))
        self._thread.start()

    def _hold(self, budget: Budget, amount: int) -> None:
        with budget.wait(amount):
            self.holds.set()
            assert self._released.wait(WAIT_S)

    def release(self) -> None:
        assert self.holds.wait(WAIT_S)
        self._released.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def test_wait_passes_amounts_that_fit_together() -> None:
    budget = Budget(10)
    holders = [Holder(budget, 5) for _ in range(2)]
    for holder in holders:
        assert holder.holds.wait(WAIT_S)
    for holder in holders:
        holder.release()


def test_wait_blocks_until_an_amount_fits_and_keeps_the_order() -> None:
    budget = Budget(10)
    first = Holder(budget, 6)
    assert first.holds.wait(WAIT_S)
    large = Holder(budget, 8)
    while not budget._turn.locked():  # it waits at the head of the line
        pass
    small = Holder(budget, 1)
    assert not large.holds.is_set()
    assert not small.holds.is_set()
    first.release()
    assert large.holds.wait(WAIT_S)
    large.release()
    small.release()


def test_wait_admits_any_single_amount_and_releases_it_after_an_error() -> None:
    budget = Budget(10)
    with pytest.raises(KeyError), budget.wait(1000):
        raise KeyError
    with budget.wait(1000):
        pass
    assert budget.held == 0


@pytest.mark.parametrize("path", ["/predict", "/v2/models/facemask/infer"])
def test_body_bytes_of_an_unanswered_request_cause_429_for_others(
    path: str, tmp_path: Path
) -> None:
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
            assert state.budgets.body_bytes.held == len(picture)
            refused = await client.post(path, content=picture, headers=headers)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["code"] == "overloaded"
            model.gate.set()
            assert (await first).status_code == 200
            assert state.budgets.body_bytes.held == 0
            answer = await client.post("/predict", content=picture, headers=headers)
            assert answer.status_code == 200

    wait(scene())


def test_pixels_of_an_unanswered_request_cause_429_for_others(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        settings = settings_of(tmp_path, max_waiting_pixels=3 * 32 * 32)
        async with serving(settings, engine) as (client, state):
            model.armed = True
            first = asyncio.create_task(client.post("/predict", files=files_of(1, 2)))
            await happens(model.entered)
            assert state.budgets.pixels.held == 2 * 32 * 32
            refused = await client.post("/predict", files=files_of(3, 4))
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert "pixels" in refused.json()["detail"]
            last = asyncio.create_task(client.post("/predict", files=files_of(5)))
            model.gate.set()
            assert (await first).status_code == (await last).status_code == 200
            assert state.budgets.pixels.held == 0

    wait(scene())
