"""Which model is serving: follows the store, and swaps only to what has proved itself."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.bundle import current_version, open_bundle
from models.errors import BundleError, NoBundle
from models.machine import usable_cores
from service.engine import Engine
from service.problems import NoModel
from service.settings import Settings
from service.threads import use_threads

log = logging.getLogger("facemask")

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
    is tried again when its files change: a copy may have been under way.
    """

    def __init__(self, store: Path, *, start: Callable[[Path], Engine], poll_s: float) -> None:
        """Take the store to follow, and how to make a warm engine of a bundle's folder."""
        self._store = store
        self._start = start
        self._poll_s = poll_s
        self._lease: _Lease | None = None
        self._refused_files: _Files | None = None
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
            await asyncio.to_thread(self._ahead.join)
        while True:
            await self.look()
            await asyncio.sleep(self._poll_s)

    async def look(self) -> None:
        """Look at the store once, and swap if it names another version that is sound."""
        try:
            version = await asyncio.to_thread(current_version, self._store)
        except NoBundle as error:
            self.refusal = Refusal(None, str(error))
            return
        if self.engine and version == self.engine.manifest.version:
            self.refusal = None
            return
        files = await asyncio.to_thread(_fingerprint, self._store / version)
        if self.refusal and self.refusal.version == version and self._refused_files == files:
            return
        try:
            engine = await asyncio.to_thread(self._start, self._store / version)
        except BundleError as error:
            self.refusal, self._refused_files = Refusal(version, str(error)), files
            log.error("version %s is refused: %s", version, error)
        except Exception as error:
            # Not the bundle's fault for sure, so it is tried again at the next look.
            reason = "It could not be started; the service's log says why."
            self.refusal, self._refused_files = Refusal(version, reason), None
            log.error("version %s could not be started", version, exc_info=error)
        else:
            self.serve(engine)
            log.info("serving %s: %s", version, ", ".join(engine.labels))

    def close(self) -> None:
        """Stop serving."""
        if self._lease is not None:
            self._lease.engine.close()
            self._lease = None

    def _drop_if_unused(self, lease: _Lease) -> None:
        if lease.retired and lease.users == 0:
            lease.engine.close()


def live_of(settings: Settings) -> Live:
    """What follows the store of these settings, with engines as they say."""
    threads = max(1, (settings.threads or usable_cores()) // settings.workers)

    def start(path: Path) -> Engine:
        use_threads(1)  # proving a model takes no core from those at work
        return Engine(
            open_bundle(path),
            threads=threads,
            max_batch=settings.max_batch,
            max_pixels=settings.max_pixels,
        )

    return Live(settings.store, start=start, poll_s=settings.poll_s)


def _fingerprint(path: Path) -> _Files:
    """Names, sizes and times of a bundle's files: whether it has changed since it was refused."""
    try:
        entries = sorted(path.iterdir())
        return tuple((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries)
    except (OSError, ValueError):  # a null byte in the name is a ValueError
        return ()
