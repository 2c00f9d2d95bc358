"""The model in service: the store's current version, once it has passed its checks."""

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import cast

import pytest

import service.inference.model_manager
from models.bundle.files import MODEL, fingerprint
from models.bundle.load import open_bundle
from models.bundle.store import CURRENT, set_current
from models.errors import BundleIncomplete
from service.inference.engine import Engine
from service.inference.model_manager import ModelManager, Refusal
from service.problems import NoModel
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.service.fixtures import THREE, TWO, happens, make_engine, publish_bundle, wait


class Starts:
    """Starts engines as the application does and counts them; raises `failures` first."""

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


def create_model_manager(store: Path, starts: Starts) -> ModelManager:
    return ModelManager(store, start=starts, poll_s=0.001)


def test_missing_store_serves_nothing_and_sets_the_refusal(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    wait(model_manager.poll_once())
    assert model_manager.engine is None
    assert model_manager.refusal is not None
    assert model_manager.refusal.version is None
    assert "python -m training fit" in model_manager.refusal.reason
    with pytest.raises(NoModel, match="GET /health"), model_manager.lease():
        pass
    assert not starts.paths
    model_manager.close()


@pytest.mark.parametrize("text", ["", "../elsewhere", ".hidden", "a/b", "\xff", "a\0b"])
def test_invalid_current_pointer_serves_nothing(text: str, store: Path, starts: Starts) -> None:
    store.mkdir()
    (store / CURRENT).write_text(text, encoding="latin-1")
    model_manager = create_model_manager(store, starts)
    wait(model_manager.poll_once())
    assert model_manager.engine is None
    assert model_manager.refusal is not None
    assert model_manager.refusal.reason
    assert not starts.engines


def test_first_bundle_is_started_once(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    wait(model_manager.poll_once())
    bundle = publish_bundle(store)
    for _ in range(3):
        wait(model_manager.poll_once())
    assert model_manager.engine is starts.engines[0]
    assert model_manager.engine.manifest == bundle.manifest
    assert model_manager.refusal is None
    assert starts.paths == [bundle.path]


def test_old_engine_closes_after_its_last_lease(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    publish_bundle(store)
    wait(model_manager.poll_once())
    (old,) = starts.engines
    with model_manager.lease() as first:
        with model_manager.lease() as second:
            publish_bundle(store, THREE)
            wait(model_manager.poll_once())
            assert first is second is old
            assert model_manager.engine is starts.engines[1]
            with model_manager.lease() as third:
                assert third.labels == THREE
        assert not starts.closed
        assert old.alive()
        assert first.labels == TWO
    assert starts.closed == [old]
    model_manager.close()
    assert starts.closed == starts.engines
    assert model_manager.engine is None
    model_manager.close()
    assert len(starts.closed) == 2


def test_old_engine_without_leases_closes_at_once(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    for count in (1, 2, 3):
        publish_bundle(store)
        wait(model_manager.poll_once())
        assert starts.closed == starts.engines[: count - 1]


def test_lease_that_ends_after_close_closes_nothing_twice(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    publish_bundle(store)
    wait(model_manager.poll_once())
    with model_manager.lease():
        model_manager.close()
    assert len(starts.closed) == 1


def test_refused_bundle_is_retried_only_when_its_files_change(
    store: Path, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    model_manager = create_model_manager(store, starts)
    good = publish_bundle(store)
    wait(model_manager.poll_once())
    bad = publish_bundle(store)
    whole = (bad.path / MODEL).read_bytes()
    (bad.path / MODEL).write_bytes(whole[:-1] + b"?")
    for _ in range(3):
        wait(model_manager.poll_once())
    assert starts.paths == [good.path, bad.path]
    assert model_manager.engine is starts.engines[0]
    assert model_manager.engine.alive()
    assert model_manager.refusal is not None
    assert model_manager.refusal.version == bad.path.name
    assert "checksum" in model_manager.refusal.reason
    assert caplog.text.count("is refused") == 1

    (bad.path / MODEL).write_bytes(whole)
    wait(model_manager.poll_once())
    assert model_manager.engine is starts.engines[1]
    assert model_manager.engine.manifest.version == bad.manifest.version
    assert model_manager.refusal is None
    assert starts.closed == starts.engines[:1]


def test_refusal_is_cleared_when_the_store_points_back(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    good = publish_bundle(store)
    wait(model_manager.poll_once())
    bad = publish_bundle(store)
    (bad.path / MODEL).unlink()
    wait(model_manager.poll_once())
    assert model_manager.refusal is not None
    set_current(store, good.manifest.version)
    wait(model_manager.poll_once())
    assert model_manager.refusal is None
    assert len(starts.paths) == 2


def test_version_is_started_once_its_folder_exists(store: Path, starts: Starts) -> None:
    bundle = publish_bundle(store)
    aside = store / ".aside"
    bundle.path.rename(aside)
    model_manager = create_model_manager(store, starts)
    for _ in range(2):
        wait(model_manager.poll_once())
    assert model_manager.engine is None
    assert model_manager.refusal is not None
    assert model_manager.refusal.version == bundle.path.name
    assert len(starts.paths) == 1
    aside.rename(bundle.path)
    wait(model_manager.poll_once())
    assert model_manager.engine is not None


def test_removed_store_leaves_the_model_serving(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    publish_bundle(store)
    wait(model_manager.poll_once())
    shutil.rmtree(store)
    wait(model_manager.poll_once())
    assert model_manager.engine is starts.engines[0]
    assert model_manager.refusal is not None
    assert model_manager.refusal.version is None


@pytest.mark.parametrize(
    "failure", [MemoryError(), OSError("disk"), ValueError("a bug"), KeyError()]
)
def test_unexpected_failure_is_retried_at_growing_intervals(
    failure: Exception, store: Path, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    model_manager = ModelManager(store, start=starts, poll_s=1.0, clock=lambda: now)
    bundle = publish_bundle(store)
    starts.failures = [failure] * 9
    attempts = []
    while model_manager.engine is None:
        seen = len(starts.paths)
        wait(model_manager.poll_once())
        if len(starts.paths) > seen:
            attempts.append(now)
        if model_manager.engine is None:
            assert model_manager.refusal == Refusal(
                bundle.manifest.version,
                "It could not be started; the service's log has the reason.",
            )
        now += 1.0
    pauses = [later - sooner for sooner, later in itertools.pairwise(attempts)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert model_manager.refusal is None
    assert caplog.text.count("could not be started") == 9


def test_changed_bundle_is_retried_at_once(store: Path, starts: Starts) -> None:
    model_manager = ModelManager(store, start=starts, poll_s=1.0, clock=lambda: 0.0)
    bundle = publish_bundle(store)
    starts.failures = [MemoryError()]
    for _ in range(2):
        wait(model_manager.poll_once())
    assert len(starts.paths) == 1
    (bundle.path / "touched").write_bytes(b"")
    wait(model_manager.poll_once())
    assert model_manager.engine is not None


def test_engine_of_a_cancelled_poll_is_closed(store: Path) -> None:
    entered, gate, closed = Event(), Event(), Event()
    bundle = publish_bundle(store)

    class Late:
        def close(self) -> None:
            closed.set()

    def start(path: Path) -> Engine:
        entered.set()
        assert gate.wait(20)
        return cast("Engine", Late())

    model_manager = ModelManager(store, start=start, poll_s=1.0)

    async def scene() -> None:
        looking = asyncio.create_task(model_manager.poll_once())
        await happens(entered)
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        gate.set()
        await happens(closed)

    wait(scene())
    assert model_manager.engine is None
    assert bundle.path.is_dir()


def test_bundle_of_the_background_poll_is_not_started_again(store: Path, starts: Starts) -> None:
    model_manager = create_model_manager(store, starts)
    publish_bundle(store)

    async def scene() -> None:
        model_manager.poll_in_background()
        following = asyncio.create_task(model_manager.run())
        while model_manager.engine is None:
            await asyncio.sleep(0)
        version = publish_bundle(store).manifest.version
        while model_manager.engine.manifest.version != version:
            await asyncio.sleep(0)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    wait(scene())
    assert len(starts.engines) == 2
    model_manager.close()


@pytest.mark.parametrize(
    ("threads", "workers", "cores", "lanes"),
    [(0, 1, 1, 1), (0, 1, 3, 3), (2, 1, 8, 2), (0, 2, 4, 2), (0, 4, 2, 1), (6, 2, 1, 3)],
)
def test_lanes_are_the_usable_cores_shared_among_workers(
    threads: int,
    workers: int,
    cores: int,
    lanes: int,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.inference.model_manager, "usable_cores", lambda: cores)
    bundle = publish_bundle(store)
    model_manager = service.inference.model_manager.create_model_manager(
        Settings(store=store, threads=threads, workers=workers), Metrics()
    )
    wait(model_manager.poll_once())
    names = [t.name for t in threading.enumerate() if bundle.manifest.version in t.name]
    model_manager.close()
    assert len(names) == lanes


def test_run_continues_after_a_failed_start(store: Path, starts: Starts) -> None:
    starts.failures = [ValueError("a bug")]
    model_manager = create_model_manager(store, starts)

    async def scene() -> None:
        following = asyncio.create_task(model_manager.run())
        await asyncio.to_thread(publish_bundle, store)
        await happens(starts.started)
        while model_manager.engine is None:
            await asyncio.sleep(0)
        assert not following.done()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    wait(scene())
    assert model_manager.engine is starts.engines[0]


@pytest.mark.parametrize("code", ["EACCES", "EIO", "EMFILE"])
def test_bundle_that_cannot_be_read_is_retried_without_a_change(
    code: str, store: Path, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    bundle = publish_bundle(store)
    model_manager = ModelManager(store, start=starts, poll_s=1.0, clock=lambda: now)
    number = getattr(errno, code)
    opens, failing = os.open, True

    def fail(path: Path, flags: int, *rest: int) -> int:
        if failing and Path(path).name == MODEL:
            raise OSError(number, os.strerror(number))
        return opens(path, flags, *rest)

    monkeypatch.setattr(os, "open", fail)
    wait(model_manager.poll_once())
    assert model_manager.refusal is not None
    assert model_manager.refusal.version == bundle.manifest.version
    assert os.strerror(number) in model_manager.refusal.reason
    failing = False
    now = 1.0
    wait(model_manager.poll_once())
    assert model_manager.engine is not None
    assert model_manager.refusal is None


def test_change_of_rights_is_a_change_of_files(store: Path) -> None:
    bundle = publish_bundle(store)
    before = fingerprint(bundle.path)
    time.sleep(0.02)  # the clock of file systems ticks every 4 ms or 10 ms
    (bundle.path / MODEL).chmod(0o600)
    (bundle.path / MODEL).chmod(0o644)
    assert fingerprint(bundle.path) != before


def test_polling_outlives_all_that_a_poll_raises(
    store: Path, starts: Starts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    bundle = publish_bundle(store)
    polls: list[float] = []
    failures: list[Exception] = [KeyError("x"), KeyError("x"), ValueError("y")]

    def on_serve(engine: Engine) -> None:
        if failures:
            raise failures.pop(0)

    model_manager = ModelManager(
        store,
        start=starts,
        poll_s=0.0,
        clock=lambda: now,
        on_serve=on_serve,
        on_poll=lambda: polls.append(now),
    )
    starting = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    wait(model_manager.poll_once())
    assert model_manager.polled_s is None
    monkeypatch.setattr(threading.Thread, "start", starting)
    wait(model_manager.poll_once())
    assert model_manager.engine is not None
    assert model_manager.engine.manifest.version == bundle.manifest.version
    assert polls == [0.0]
    now = 7.0
    assert model_manager.polled_s == 7.0
    assert [record.message for record in caplog.records] == ["the store cannot be followed"] * 2
    model_manager.close()


def test_same_failure_of_polls_is_logged_once_a_minute(
    store: Path, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    publish_bundle(store)
    (store / CURRENT).unlink()
    os.mkfifo(store / CURRENT)
    model_manager = ModelManager(store, start=starts, poll_s=1.0, clock=lambda: now)
    while now <= 120.0:
        wait(model_manager.poll_once())
        now += 10.0
    assert caplog.text.count("the store cannot be followed") == 3
    assert model_manager.polled_s is None
    assert model_manager.refusal == Refusal(None, f"{store / CURRENT} is not a regular file.")
    (store / CURRENT).unlink()
    (store / CURRENT).symlink_to("/dev/zero")
    wait(model_manager.poll_once())
    assert model_manager.refusal == Refusal(None, f"{store / CURRENT} is not a regular file.")


def test_old_engine_closes_even_if_the_new_one_cannot_be_recorded(
    store: Path, starts: Starts
) -> None:
    def fail(engine: Engine) -> None:
        if len(starts.engines) > 1:
            raise ValueError("odd figures")

    model_manager = ModelManager(store, start=starts, poll_s=1.0, on_serve=fail)
    for classes in (TWO, THREE):
        publish_bundle(store, classes)
        wait(model_manager.poll_once())
    assert starts.closed == starts.engines[:1]
    assert model_manager.engine is starts.engines[1]


def test_first_poll_without_a_thread_is_left_to_the_loop(
    store: Path, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_bundle(store)
    model_manager = ModelManager(store, start=starts, poll_s=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        model_manager.poll_in_background()

    async def scene() -> None:
        following = asyncio.create_task(model_manager.run())
        while model_manager.engine is None:
            await asyncio.sleep(0)
        following.cancel()

    wait(scene())


def no_thread(thread: threading.Thread) -> None:
    """Fail as `Thread.start` does where the system has no thread to give."""
    raise RuntimeError("can't start new thread")


def test_loading_version_is_known_until_it_serves(store: Path, starts: Starts) -> None:
    seen: list[tuple[str, str]] = []
    now = 100.0

    def start(path: Path) -> Engine:
        nonlocal now
        now += 7
        loading = model_manager.loading
        assert loading is not None
        seen.append((loading.version, str(model_manager.no_model())))
        if len(seen) == 1:
            raise BundleIncomplete("half of it.")
        return starts(path)

    model_manager = ModelManager(store, start=start, poll_s=0.001, clock=lambda: now)
    bundle = publish_bundle(store)
    wait(model_manager.poll_once())
    assert model_manager.loading is None
    assert "GET /health" in str(model_manager.no_model())
    (bundle.path / "more").touch()
    wait(model_manager.poll_once())
    assert model_manager.engine is not None
    assert model_manager.loading is None
    version = bundle.manifest.version
    sentence = f"Version {version} has been loading for 7 s: come again."
    assert seen == [(version, sentence)] * 2


def test_empty_store_is_warned_of_once_in_ten_minutes(
    store: Path, starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    model_manager = ModelManager(store, start=starts, poll_s=0.001, clock=lambda: now)
    for now in (0.0, 1.0, 599.0, 600.0, 700.0):  # noqa: B007  read by the clock
        wait(model_manager.poll_once())
    assert len(caplog.records) == 2
    assert str(store) in caplog.text
    assert "python -m training fit" in caplog.text
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    publish_bundle(store)
    wait(model_manager.poll_once())
    shutil.rmtree(store)
    caplog.clear()
    wait(model_manager.poll_once())
    assert "the model in service stays" in caplog.text
