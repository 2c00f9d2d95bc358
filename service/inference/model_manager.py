"""The model in service: follows the store, and swaps to bundles that pass their checks."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from models.bundle.files import Fingerprint, fingerprint
from models.bundle.load import open_bundle
from models.bundle.signing import load_public_keys
from models.bundle.store import current_version
from models.cpu import usable_cores
from models.errors import BundleError, BundleUnreadable, NoBundle, PointerUnreadable
from models.text import clean
from service.inference.engine import Engine
from service.inference.poll_log import PollLog
from service.inference.tuning import use_threads
from service.limits.memory_bound import DecodingBudgets, MemoryReporter
from service.problems import NoModel
from service.process.background import run_in_background_thread
from service.settings import Settings
from service.telemetry.metrics import Metrics

log = logging.getLogger("facemask")

# Max seconds between attempts at a bundle that fails for a reason outside the bundle.
_MAX_RETRY_PAUSE_S: Final = 60.0


@dataclass(frozen=True)
class Refusal:
    """Reason why the store's version is not served; `version` is None if the store names none."""

    version: str | None
    reason: str


@dataclass(frozen=True)
class Loading:
    """A version that is being opened, verified and warmed up.

    Attributes:
        version: The version.
        started_at: Time of the start.
        started: The same on the manager's clock, in seconds.
    """

    version: str
    started_at: datetime
    started: float


@dataclass
class _Served:
    """An engine, and the number of requests that hold it."""

    engine: Engine
    leases: int = 0
    retired: bool = False


class ModelManager:
    """Owner of the engine that serves the store's current version.

    A new version is opened, verified and warmed up beside the old one, which serves until
    then and is closed when its last request is answered. A refused bundle changes nothing, and is
    tried again when its files change: a copy may have been under way. A bundle that fails for a
    reason outside it is tried again without such a change, at growing intervals.

    Attributes:
        refusal: Reason why the store's current version is not served, if it is not.
        loading: Version that is being loaded, if one is.
    """

    def __init__(
        self,
        store: Path,
        *,
        start: Callable[[Path], Engine],
        poll_s: float,
        on_serve: Callable[[Engine], None] = lambda engine: None,
        on_refuse: Callable[[str], None] = lambda code: None,
        on_poll: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without an engine.

        Args:
            store: Folder of bundles to follow.
            start: Returns a warm engine for a bundle's folder.
            poll_s: Seconds between two polls of the store.
            on_serve: Called with each engine that goes into service.
            on_refuse: Called with the error's code of each bundle that is refused.
            on_poll: Called after each poll that could read the store.
            clock: Returns monotonic seconds.
        """
        self._store = store
        self._start = start
        self._poll_s = poll_s
        self._on_serve = on_serve
        self._on_refuse = on_refuse
        self._on_poll = on_poll
        self._clock = clock
        self._served: _Served | None = None
        self._refused_files: Fingerprint | None = None
        self._retry_pause_s = 0.0  # 0 unless the last attempt failed for a reason outside it
        self._retry_at = 0.0
        self._first_poll: threading.Thread | None = None
        self._polled_at: float | None = None
        self._log = PollLog(clock)
        self.refusal: Refusal | None = None
        self.loading: Loading | None = None

    @property
    def engine(self) -> Engine | None:
        """The engine in service, if any."""
        return self._served.engine if self._served else None

    @property
    def polled_s(self) -> float | None:
        """Seconds since the last poll that could read the store, None before it."""
        return None if self._polled_at is None else self._clock() - self._polled_at

    @contextlib.contextmanager
    def lease(self) -> Iterator[Engine]:
        """Hold the current engine during a request, even if it is swapped meanwhile.

        Raises:
            NoModel: No model is being served yet.
        """
        served = self._served
        if served is None:
            raise self.no_model()
        served.leases += 1
        try:
            yield served.engine
        finally:
            served.leases -= 1
            self._close_if_unused(served)

    def no_model(self) -> NoModel:
        """Return the error of a call while no model is served: the reason, or how long it loads."""
        loading = self.loading
        if loading is None:
            return NoModel()
        seconds = self._clock() - loading.started
        return NoModel(
            f"Version {loading.version} has been loading for {seconds:.0f} s: come again."
        )

    def serve(self, engine: Engine) -> None:
        """Put an engine into service."""
        old, self._served = self._served, _Served(engine)
        self.refusal = None
        if old is not None:
            old.retired = True
            self._close_if_unused(old)
        self._on_serve(engine)

    def poll_in_background(self) -> None:
        """Poll once on a thread, before there is an event loop for `run`.

        Loading a model runs mostly outside Python, so that the rest of the service is imported
        meanwhile.
        """
        self._first_poll = threading.Thread(
            target=lambda: asyncio.run(self.poll_once()), name="first-poll", daemon=True
        )
        try:
            self._first_poll.start()
        except RuntimeError as error:  # no free thread: `run` polls
            self._first_poll = None
            log.warning("the first model is loaded later: %s", error)

    async def run(self) -> None:
        """Poll the store until cancelled."""
        if self._first_poll is not None:
            with contextlib.suppress(RuntimeError):  # no free thread: the poll below waits
                await run_in_background_thread(self._first_poll.join)
        while True:
            await self.poll_once()
            await asyncio.sleep(self._poll_s)

    async def poll_once(self) -> None:
        """Poll the store, and swap if it names another version that passes its checks.

        Any error is logged, and the next poll starts afresh.
        """
        try:
            await self._poll()
        except Exception as error:  # noqa: BLE001  it is logged
            self._log.failed(error)
        else:
            self._log.succeeded()

    async def _poll(self) -> None:
        try:
            version = await run_in_background_thread(lambda: current_version(self._store))
        except PointerUnreadable as error:
            self.refusal = Refusal(None, clean(str(error)))
            raise
        except NoBundle as error:
            self.refusal = Refusal(None, clean(str(error)))
            self._record_poll()
            self._log.found_empty(error, is_serving=self._served is not None)
            return
        self._record_poll()
        self._log.found_model()
        if self.engine and version == self.engine.manifest.version:
            self.refusal = None
            return
        path = self._store / version
        files = await run_in_background_thread(lambda: fingerprint(path))
        if self.refusal and self.refusal.version == version and self._refused_files == files:
            if not self._retry_pause_s or self._clock() < self._retry_at:
                return
        else:
            self._retry_pause_s = 0.0
        await self._try_version(version, path, files)

    async def _try_version(self, version: str, path: Path, files: Fingerprint) -> None:
        """Start an engine for a version and put it into service, or refuse the version."""
        self.loading = Loading(version, datetime.now(UTC), self._clock())
        try:
            engine = await run_in_background_thread(
                lambda: self._start(path), discard=lambda late: late.close()
            )
        except BundleUnreadable as error:
            self._retry_later(version, files, str(error), error.code)
            log.error("version %s cannot be read: %s", version, error)
        except BundleError as error:
            self._refuse(version, files, str(error), error.code)
            self._retry_pause_s = 0.0
            log.error("version %s is refused: %s", version, error)
        except Exception as error:
            # The cause may be outside the bundle, such as a shortage of memory.
            reason = "It could not be started; the service's log has the reason."
            self._retry_later(version, files, reason, "internal_error")
            log.error("version %s could not be started", version, exc_info=error)
        else:
            self._retry_pause_s = 0.0
            self.serve(engine)
            log.info("serving %s: %s", version, ", ".join(engine.labels))
        finally:
            self.loading = None

    def close(self) -> None:
        """Stop serving; wait a moment for the batches in progress."""
        if self._served is not None:
            self._served.engine.close()
            self._served = None

    def _refuse(self, version: str, files: Fingerprint, reason: str, code: str) -> None:
        self.refusal, self._refused_files = Refusal(version, clean(reason)), files
        self._on_refuse(code)

    def _retry_later(self, version: str, files: Fingerprint, reason: str, code: str) -> None:
        """Refuse a version until a pause has passed, which grows with each attempt."""
        self._refuse(version, files, reason, code)
        self._retry_pause_s = min(max(2 * self._retry_pause_s, self._poll_s), _MAX_RETRY_PAUSE_S)
        self._retry_at = self._clock() + self._retry_pause_s

    def _record_poll(self) -> None:
        self._polled_at = self._clock()
        self._on_poll()

    def _close_if_unused(self, served: _Served) -> None:
        if served.retired and served.leases == 0:
            served.engine.close(wait_s=0)  # this is the event loop


def create_model_manager(settings: Settings, metrics: Metrics) -> ModelManager:
    """Return a manager that follows the settings' store and reports to the metrics."""
    trusted = load_public_keys(settings.trusted_keys)
    threads = max(1, (settings.threads or usable_cores()) // settings.workers)
    budgets = DecodingBudgets.from_settings(settings)
    memory = MemoryReporter(settings)

    def start(path: Path) -> Engine:
        memory.model_opening()
        use_threads(1)  # the checks of a new model take no cores from busy lanes
        return Engine(
            open_bundle(path, trusted=trusted, device=settings.device),
            threads=threads,
            threshold=settings.threshold,
            max_batch=settings.max_batch,
            max_pixels=settings.max_pixels,
            max_file_bytes=settings.max_file_bytes,
            decode_s=settings.decode_s,
            budgets=budgets,
            observer=metrics,
        )

    def on_serve(engine: Engine) -> None:
        metrics.record_model(engine.manifest)
        memory.model_warm(lanes=threads, input_px=engine.manifest.input_px)

    return ModelManager(
        settings.store,
        start=start,
        poll_s=settings.poll_s,
        on_serve=on_serve,
        on_refuse=metrics.record_refusal,
        on_poll=metrics.record_poll,
    )
