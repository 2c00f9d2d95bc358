"""A wall clock that runs backwards: only version names and log lines depend on it."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.bundle.store import current_version, prune, rollback, versions
from tests import ROOT
from tests.service.fixtures import code_of, files_of, publish_bundle, serving, settings_of, wait

# Files that read the wall clock, the number of reads, and the reason.
READERS = {
    "client/src/facemask_client/clients.py": 1,  # `Retry-After` may be a date
    "models/bundle/publish.py": 1,  # time of a version; never before the newest version's
    "service/inference/model_manager.py": 1,  # since when a model is being loaded, to show
    "training/cli/progress/outputs.py": 1,  # time of an event, to show
}


def test_wall_clock_is_read_only_where_listed() -> None:
    found = {
        str(path.relative_to(ROOT)): len(calls)
        for folder in ("client", "models", "service", "training")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (
            calls := re.findall(
                r"\btime\.time(?:_ns)?\(\)|\.(?:now|today|utcnow)\(|\bfrom time import",
                path.read_text(),
            )
        )
    }
    assert found == READERS


class BackwardsClock:
    """Clock that shows a day earlier at each read."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return 1.7e9 - 86400 * self.looks


def turn_clocks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = BackwardsClock()

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(0, UTC) + timedelta(seconds=clock())

    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setattr("models.bundle.publish.datetime", Backwards)


def test_service_survives_a_backwards_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_bundle(tmp_path)
    turn_clocks_back(monkeypatch)

    async def scene() -> None:
        settings = settings_of(tmp_path, poll_s=0.001)
        async with serving(settings) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            version = publish_bundle(tmp_path).manifest.version
            while state.model_manager.engine.manifest.version != version:
                await asyncio.sleep(0)
            for code in range(5):
                answer = (await client.post("/predict", files=files_of(code))).json()
                assert code_of(answer["predictions"][0]) == code
            uptimes = [(await client.get("/health")).json()["uptime_s"] for _ in range(3)]
            assert uptimes == sorted(uptimes)
            assert uptimes[0] >= 0
        late = settings_of(tmp_path, poll_s=3600, deadline_s=1e-9)
        async with serving(late) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            assert (await client.post("/predict", files=files_of(1))).status_code == 504

    wait(scene())


def test_store_keeps_version_order_with_a_backwards_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_clocks_back(monkeypatch)
    published = [publish_bundle(tmp_path).manifest.version for _ in range(4)]
    assert versions(tmp_path) == published
    assert current_version(tmp_path) == published[3]
    assert rollback(tmp_path) == published[2]
    assert prune(tmp_path, keep=1) == [published[0]]
