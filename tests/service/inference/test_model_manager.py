"""Which model serves: what the store names, once it has proved itself."""

import asyncio
import contextlib
import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import cast

import pytest

import service.inference.model_manager
from models.bundle.load import open_bundle
from models.bundle.store import CURRENT, MODEL, point
from service.inference.engine import Engine
from service.inference.model_manager import Live, Refusal
from service.problems import NoModel
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.service.fixtures import THREE, TWO, happens, make_engine, publish_bundle, wait


class Starts:
    """Starts engines as the application does, counts, and fails first if it is told to."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.failures: list[Exception] = []
        self.engines: list[Engine] = []
        self.closed: list[Engine] = []
        self.started = Event()

    def __call__(self, path: Path) -> Engine:
        self.paths.append(path)
        if self.failures:
            raise self.failures.pop(0)
        engine = make_engine(open_bundle(path))
        close = engine.close

        def counted(**options: float) -> None:
            self.closed.append(engine)
            close(**options)

        engine.close = counted  # type: ignore[method-assign]
        self.engines.append(engine)
        self.started.set()
        return engine


@pytest.fixture(name="starts")
def _starts() -> Iterator[Starts]:
    starts = Starts()
    yield starts
    for engine in starts.engines:
        engine.close()


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def live_of(store: Path, starts: Starts) -> Live:
    return Live(store, start=starts, poll_s=0.001)


def test_without_a_store_nothing_serves_and_the_reason_is_told(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    wait(live.look())
    assert live.engine is None
    assert live.refusal is not None
    assert live.refusal.version is None
    assert "python -m training fit" in live.refusal.reason
    with pytest.raises(NoModel, match="GET /health"), live.use():
        pass
    assert not starts.paths
    live.close()


@pytest.mark.parametrize("text", ["", "../elsewhere", ".hidden", "a/b", "\xff", "a\0b"])
def test_a_pointer_to_no_version_serves_nothing(text: str, store: Path, starts: Starts) -> None:
    store.mkdir()
    (store / CURRENT).write_text(text, encoding="latin-1")
    live = live_of(store, starts)
    wait(live.look())
    assert live.engine is None
    assert live.refusal is not None
    assert live.refusal.reason
    assert not starts.engines


def test_the_first_bundle_is_picked_up_and_asked_for_once(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    wait(live.look())
    bundle = publish_bundle(store)
    for _ in range(3):
        wait(live.look())
    assert live.engine is starts.engines[0]
    assert live.engine.manifest == bundle.manifest
    assert live.refusal is None
    assert starts.paths == [bundle.path]


def test_the_old_engine_goes_after_its_last_user(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    publish_bundle(store)
    wait(live.look())
    (old,) = starts.engines
    with live.use() as first:
        with live.use() as second:
            publish_bundle(store, THREE)
            wait(live.look())
            assert first is second is old
            assert live.engine is starts.engines[1]
            with live.use() as third:
                assert third.labels == THREE
        assert not starts.closed
        assert old.alive()
        assert first.labels == TWO
    assert starts.closed == [old]
    live.close()
    assert starts.closed == starts.engines
    assert live.engine is None
    live.close()
    assert len(starts.closed) == 2


def test_an_idle_engine_goes_at_once(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    for count in (1, 2, 3):
        publish_bundle(store)
        wait(live.look())
        assert starts.closed == starts.engines[: count - 1]


def test_a_user_who_ends_after_the_close_closes_nothing_twice(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    publish_bundle(store)
    wait(live.look())
    with live.use():
        live.close()
    assert len(starts.closed) == 1


def test_a_refused_bundle_changes_nothing_until_its_files_do(
    store: Path, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    live = live_of(store, starts)
    good = publish_bundle(store)
    wait(live.look())
    bad = publish_bundle(store)
    whole = (bad.path / MODEL).read_bytes()
    (bad.path / MODEL).write_bytes(whole[:-1] + b"?")
    for _ in range(3):
        wait(live.look())
    assert starts.paths == [good.path, bad.path]
    assert live.engine is starts.engines[0]
    assert live.engine.alive()
    assert live.refusal is not None
    assert live.refusal.version == bad.path.name
    assert "checksum" in live.refusal.reason
    assert caplog.text.count("is refused") == 1

    (bad.path / MODEL).write_bytes(whole)
    wait(live.look())
    assert live.engine is starts.engines[1]
    assert live.engine.manifest.version == bad.manifest.version
    assert live.refusal is None
    assert starts.closed == starts.engines[:1]


def test_a_refusal_is_forgotten_when_the_store_goes_back(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    good = publish_bundle(store)
    wait(live.look())
    bad = publish_bundle(store)
    (bad.path / MODEL).unlink()
    wait(live.look())
    assert live.refusal is not None
    point(store, good.manifest.version)
    wait(live.look())
    assert live.refusal is None
    assert len(starts.paths) == 2


def test_a_version_whose_folder_comes_later_is_taken_then(store: Path, starts: Starts) -> None:
    bundle = publish_bundle(store)
    aside = store / ".aside"
    bundle.path.rename(aside)
    live = live_of(store, starts)
    for _ in range(2):
        wait(live.look())
    assert live.engine is None
    assert live.refusal is not None
    assert live.refusal.version == bundle.path.name
    assert len(starts.paths) == 1
    aside.rename(bundle.path)
    wait(live.look())
    assert live.engine is not None


def test_a_store_that_goes_leaves_the_model_serving(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    publish_bundle(store)
    wait(live.look())
    shutil.rmtree(store)
    wait(live.look())
    assert live.engine is starts.engines[0]
    assert live.refusal is not None
    assert live.refusal.version is None


@pytest.mark.parametrize(
    "failure", [MemoryError(), OSError("disk"), ValueError("a bug"), KeyError()]
)
def test_an_unexpected_failure_is_told_and_tried_again_later_and_later(
    failure: Exception, store: Path, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    live = Live(store, start=starts, poll_s=1.0, clock=lambda: now)
    bundle = publish_bundle(store)
    starts.failures = [failure] * 9
    attempts = []
    while live.engine is None:
        seen = len(starts.paths)
        wait(live.look())
        if len(starts.paths) > seen:
            attempts.append(now)
        if live.engine is None:
            assert live.refusal == Refusal(
                bundle.manifest.version, "It could not be started; the service's log says why."
            )
        now += 1.0
    pauses = [later - sooner for sooner, later in itertools.pairwise(attempts)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert live.refusal is None
    assert caplog.text.count("could not be started") == 9


def test_a_bundle_that_changes_is_tried_at_once(store: Path, starts: Starts) -> None:
    live = Live(store, start=starts, poll_s=1.0, clock=lambda: 0.0)
    bundle = publish_bundle(store)
    starts.failures = [MemoryError()]
    for _ in range(2):
        wait(live.look())
    assert len(starts.paths) == 1
    (bundle.path / "touched").write_bytes(b"")
    wait(live.look())
    assert live.engine is not None


def test_an_engine_that_nobody_waits_for_is_closed(store: Path) -> None:
    entered, gate, closed = Event(), Event(), Event()
    bundle = publish_bundle(store)

    class Late:
        def close(self) -> None:
            closed.set()

    def start(path: Path) -> Engine:
        entered.set()
        assert gate.wait(20)
        return cast("Engine", Late())

    live = Live(store, start=start, poll_s=1.0)

    async def scene() -> None:
        looking = asyncio.create_task(live.look())
        await happens(entered)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        gate.set()
        await happens(closed)

    wait(scene())
    assert live.engine is None
    assert bundle.path.is_dir()


def test_what_was_looked_at_ahead_is_not_started_again(store: Path, starts: Starts) -> None:
    live = live_of(store, starts)
    publish_bundle(store)

    async def scene() -> None:
        live.look_ahead()
        following = asyncio.create_task(live.follow())
        while live.engine is None:
            await asyncio.sleep(0)
        version = publish_bundle(store).manifest.version
        while live.engine.manifest.version != version:
            await asyncio.sleep(0)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    wait(scene())
    assert len(starts.engines) == 2
    live.close()


@pytest.mark.parametrize(
    ("threads", "workers", "cores", "lanes"),
    [(0, 1, 1, 1), (0, 1, 3, 3), (2, 1, 8, 2), (0, 2, 4, 2), (0, 4, 2, 1), (6, 2, 1, 3)],
)
def test_there_is_a_lane_a_usable_core_of_the_process(
    threads: int,
    workers: int,
    cores: int,
    lanes: int,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.inference.model_manager, "usable_cores", lambda: cores)
    bundle = publish_bundle(store)
    live = service.inference.model_manager.live_of(
        Settings(store=store, threads=threads, workers=workers), Metrics()
    )
    wait(live.look())
    names = [t.name for t in threading.enumerate() if bundle.manifest.version in t.name]
    live.close()
    assert len(names) == lanes


def test_following_goes_on_whatever_the_store_holds(store: Path, starts: Starts) -> None:
    starts.failures = [ValueError("a bug")]
    live = live_of(store, starts)

    async def scene() -> None:
        following = asyncio.create_task(live.follow())
        await asyncio.to_thread(publish_bundle, store)
        await happens(starts.started)
        while live.engine is None:
            await asyncio.sleep(0)
        assert not following.done()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    wait(scene())
    assert live.engine is starts.engines[0]
