"""Which model is serving: follows the store, and swaps only to what has proved itself."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.bundle.load import open_bundle
from models.bundle.signing import load_public_keys
from models.bundle.store import current_version
from models.cpu import usable_cores
from models.errors import BundleError, NoBundle
from service.inference.engine import Engine
from service.inference.tuning import use_threads
from service.limits.gate import gates_of
from service.limits.memory_bound import MemoryTold
from service.problems import NoModel
from service.process.background import run_in_background_thread
from service.settings import Settings
from service.telemetry.metrics import Metrics

log = logging.getLogger("facemask")

# Between attempts at a bundle that fails for a reason that is not in the bundle, in seconds.
_LONGEST_PAUSE_S = 60.0

# Name, size in bytes and time in ns of each file of a bundle.
_Files = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Refusal:
    """Why what the store names is not served; no version if it names none."""

    version: str | None
    reason: str


@dataclass
class _Lease:
    engine: Engine
    users: int = 0
    retired: bool = False


class Live:
    """The engine of the store's current version.

    A new version is opened, verified and warmed up beside the old one, which serves until
    then and goes when its last request is answered. One that is refused changes nothing, and
    is tried again when its files change: a copy may have been under way. One that fails for
    another reason is tried again without that, at growing intervals.
    """

    def __init__(
        self,
        store: Path,
        *,
        start: Callable[[Path], Engine],
        poll_s: float,
        on_serve: Callable[[Engine], None] = lambda engine: None,
        on_refuse: Callable[[str], None] = lambda code: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no engine.

        Args:
            store: To follow.
            start: Makes a warm engine of a bundle's folder.
            poll_s: Seconds between two looks at the store.
            on_serve: Told of each engine that goes into service.
            on_refuse: Told the error's code of each bundle that does not.
            clock: Monotonic, in seconds.
        """
        self._store = store
        self._start = start
        self._poll_s = poll_s
        self._on_serve = on_serve
        self._on_refuse = on_refuse
        self._clock = clock
        self._lease: _Lease | None = None
        self._refused_files: _Files | None = None
        self._pause_s = 0.0  # 0 unless the last attempt failed for a reason not in the bundle
        self._again_at = 0.0
        self._ahead: threading.Thread | None = None
        self.refusal: Refusal | None = None

    @property
    def engine(self) -> Engine | None:
        """What is serving now."""
        return self._lease.engine if self._lease else None

    @contextlib.contextmanager
    def use(self) -> Iterator[Engine]:
        """Hold the present engine for the length of a request, whatever is swapped meanwhile.

        Raises:
            NoModel: There is none.
        """
        lease = self._lease
        if lease is None:
            raise NoModel("No model is being served yet: GET /health says why.")
        lease.users += 1
        try:
            yield lease.engine
        finally:
            lease.users -= 1
            self._drop_if_unused(lease)

    def serve(self, engine: Engine) -> None:
        """Make an engine the one that serves."""
        old, self._lease = self._lease, _Lease(engine)
        self.refusal = None
        self._on_serve(engine)
        if old is not None:
            old.retired = True
            self._drop_if_unused(old)

    def look_ahead(self) -> None:
        """Look once on a thread, before there is an event loop to follow on.

        Loading a model needs little of Python, so that the rest of the service is imported
        meanwhile.
        """
        self._ahead = threading.Thread(
            target=lambda: asyncio.run(self.look()), name="look-ahead", daemon=True
        )
        self._ahead.start()

    async def follow(self) -> None:
        """Look at the store for ever."""
        if self._ahead is not None:
            await run_in_background_thread(self._ahead.join)
        while True:
            await self.look()
            await asyncio.sleep(self._poll_s)

    async def look(self) -> None:
        """Look at the store once, and swap if it names another version that is sound."""
        try:
            version = await run_in_background_thread(lambda: current_version(self._store))
        except NoBundle as error:
            self.refusal = Refusal(None, str(error))
            return
        if self.engine and version == self.engine.manifest.version:
            self.refusal = None
            return
        path = self._store / version
        files = await run_in_background_thread(lambda: _fingerprint(path))
        if self.refusal and self.refusal.version == version and self._refused_files == files:
            if not self._pause_s or self._clock() < self._again_at:
                return
        else:
            self._pause_s = 0.0
        try:
            engine = await run_in_background_thread(lambda: self._start(path), discard=lambda late: late.close())
        except BundleError as error:
            self._refuse(version, files, str(error), error.code)
            self._pause_s = 0.0
            log.error("version %s is refused: %s", version, error)
        except Exception as error:
            # Not the bundle's fault for sure: memory may be short for a while.
            reason = "It could not be started; the service's log says why."
            self._refuse(version, files, reason, "internal_error")
            self._pause_s = min(max(2 * self._pause_s, self._poll_s), _LONGEST_PAUSE_S)
            self._again_at = self._clock() + self._pause_s
            log.error("version %s could not be started", version, exc_info=error)
        else:
            self._pause_s = 0.0
            self.serve(engine)
            log.info("serving %s: %s", version, ", ".join(engine.labels))

    def close(self) -> None:
        """Stop serving; waits a moment for the batches in hand."""
        if self._lease is not None:
            self._lease.engine.close()
            self._lease = None

    def _refuse(self, version: str, files: _Files, reason: str, code: str) -> None:
        self.refusal, self._refused_files = Refusal(version, reason), files
        self._on_refuse(code)

    def _drop_if_unused(self, lease: _Lease) -> None:
        if lease.retired and lease.users == 0:
            lease.engine.close(wait_s=0)  # this is the event loop


def live_of(settings: Settings, metrics: Metrics) -> Live:
    """What follows the store of these settings, with engines as they say, and tells the metrics."""
    trusted = load_public_keys(settings.trusted_keys)
    threads = max(1, (settings.threads or usable_cores()) // settings.workers)
    gates = gates_of(settings)
    memory = MemoryTold(settings)

    def start(path: Path) -> Engine:
        memory.model_begins()
        use_threads(1)  # proving a model takes no core from those at work
        return Engine(
            open_bundle(path, trusted=trusted, device=settings.device),
            threads=threads,
            max_batch=settings.max_batch,
            max_pixels=settings.max_pixels,
            max_file_bytes=settings.max_file_bytes,
            decode_s=settings.decode_s,
            gates=gates,
            watch=metrics,
        )

    def served(engine: Engine) -> None:
        metrics.served(engine.manifest)
        memory.model_is_warm(lanes=threads, input_px=engine.manifest.input_px)

    return Live(
        settings.store,
        start=start,
        poll_s=settings.poll_s,
        on_serve=served,
        on_refuse=metrics.refused,
    )


def _fingerprint(path: Path) -> _Files:
    """Names, sizes and times of a bundle's files: whether it has changed since it was refused."""
    try:
        entries = sorted(path.iterdir())
        return tuple((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries)
    except (OSError, ValueError):  # a null byte in the name is a ValueError
        return ()
