"""Session of an admitted call: resources, release and errors."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from models.bundle.load import Bundle
from service.inference.model_manager import ModelManager
from service.inference.session import open_session
from service.limits.budget import RequestBudgets
from service.problems import DeadlinePassed, NoModel, Overloaded, Stopping
from service.settings import Settings
from tests.service.fixtures import (
    THREE,
    GatedModel,
    code_of,
    code_picture,
    happens,
    make_engine,
    publish_bundle,
    settings_of,
    wait,
)


class Scene:
    """Sessions on one engine whose model waits at a gate."""

    def __init__(self, bundle: Bundle, **values: Any) -> None:
        self.settings: Settings = settings_of(bundle.path.parent, **values)
        self.budgets = RequestBudgets.from_settings(self.settings)
        self.model = GatedModel(bundle)
        self.engine = make_engine(bundle, self.model)
        self.manager = ModelManager(bundle.path, start=lambda path: self.engine, poll_s=1)
        self.manager.serve(self.engine)

    async def predict(self, *codes: int) -> list[int]:
        """Return the codes that a session's answers carry."""
        async with open_session(self.settings, self.manager, self.budgets) as session:
            session.body_bytes.add(100)
            answers = await session.predict([code_picture(code) for code in codes])
            return [code_of({"scores": answer.scores}) for answer in answers]  # type: ignore[union-attr]

    def held(self) -> tuple[int, int, int]:
        """Return the pictures, pixels and bytes that all sessions hold."""
        budgets = self.budgets
        return budgets.pictures.held, budgets.pixels.held, budgets.body_bytes.held


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Bundle:
    return publish_bundle(tmp_path / "store")


def test_cancelled_session_releases_its_reservations_and_its_lease(bundle: Bundle) -> None:
    scene = Scene(bundle)

    async def run() -> None:
        scene.model.armed = True
        leaving = asyncio.create_task(scene.predict(1, 2))
        await happens(scene.model.entered)
        staying = asyncio.create_task(scene.predict(3))
        while scene.held() != (3, 3 * 32 * 32, 200):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        assert scene.held() == (1, 32 * 32, 100)
        scene.manager.serve(make_engine(publish_bundle(scene.settings.store, THREE)))
        scene.model.gate.set()
        assert await staying == [3]  # by the model that it was admitted with
        assert scene.held() == (0, 0, 0)
        while scene.engine.alive():  # retired, and no longer leased
            await asyncio.sleep(0)

    wait(run())
    scene.manager.close()


def test_session_past_the_deadline_raises_and_releases(bundle: Bundle) -> None:
    scene = Scene(bundle, deadline_s=0.05)

    async def run() -> None:
        scene.model.armed = True
        with pytest.raises(DeadlinePassed, match=r"No answer within 0\.05 s"):
            await scene.predict(1)
        assert scene.held() == (0, 0, 0)
        scene.model.gate.set()

    wait(run())
    scene.manager.close()


def test_session_on_a_closed_engine_raises_stopping(bundle: Bundle) -> None:
    scene = Scene(bundle)
    scene.engine.close()
    with pytest.raises(Stopping):
        wait(scene.predict(1))
    assert scene.held() == (0, 0, 0)


def test_open_session_raises_without_a_model_and_when_full(bundle: Bundle) -> None:
    scene = Scene(bundle, max_waiting=1)
    with scene.budgets.pictures.reserve(1), pytest.raises(Overloaded, match="1 pictures"):
        wait(scene.predict(1))
    scene.manager.close()
    with pytest.raises(NoModel):
        wait(scene.predict(1))
