"""Watchdog behind /livez: detects a hung or dead model worker, and an idle service."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import torch

from models.allocator import release_free_memory
from service.inference.model_manager import ModelManager
from service.problems import NoModel, Stuck
from service.process.background import run_in_background_thread
from service.process.running_time import RunningTime

log = logging.getLogger("facemask")

_CHECKS_PER_STUCK_S: Final = 4


class Watchdog:
    """Detects lanes that hang, and a model without a working lane.

    Every answered batch is progress. After a while without one, a blank picture goes through the
    same queue as all pictures, which distinguishes an idle service from a stuck one. An idle
    service releases the memory that it needed while it was busy. Time in which the process itself
    was paused does not count.

    Attributes:
        stuck: True while the model hangs.
        idle_handled: True once the current idle time has been handled.
    """

    def __init__(
        self,
        model_manager: ModelManager,
        *,
        stuck_s: float,
        on_idle: Callable[[], None] = release_free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a model that counts as busy: it has just been loaded.

        Args:
            model_manager: Owner of the model to watch.
            stuck_s: Seconds without progress after which the model counts as stuck.
            on_idle: Called on a thread when the model has become idle.
            clock: Returns monotonic seconds, pauses of the process included.
        """
        self._model_manager = model_manager
        self._on_idle = on_idle
        self._stuck_s = stuck_s
        self._running_time = RunningTime(clock)
        self.idle_handled = False
        self.stuck = False

    def raise_if_stuck(self) -> None:
        """Raise if the model hangs.

        Raises:
            Stuck: The model hangs.
        """
        if self.stuck:
            raise Stuck

    async def run(self) -> None:
        """Check the model at regular intervals until cancelled."""
        while True:
            try:
                await self._check()
            except Exception as error:  # such as no free thread for a while
                log.error("the watchdog could not check the model", exc_info=error)
                await asyncio.sleep(self._stuck_s / _CHECKS_PER_STUCK_S)

    async def _check(self) -> None:
        """Set `stuck` by the progress within a part of `stuck_s`, and handle idleness."""
        version, before = self._progress()
        # Without a lease: the engine may be replaced meanwhile.
        await self._running_time.wait(self._stuck_s / _CHECKS_PER_STUCK_S)
        current, batches = self._progress()
        made_progress = version is not None and version == current and batches != before
        self.stuck = self._hangs() or not (made_progress or await self.probe())
        handled, self.idle_handled = self.idle_handled, not made_progress
        if not (made_progress or handled):
            await run_in_background_thread(self._on_idle)

    async def probe(self) -> bool:
        """Return True if the model answers a blank picture, or any other, in time.

        A service without a model is not stuck, nor is a model whose batches fail.
        """
        try:
            with self._model_manager.lease() as engine:
                before = engine.batches
                if not engine.alive():
                    return False
                size = engine.manifest.input_px
                blank = torch.zeros((3, size, size), dtype=torch.uint8)
                answer = asyncio.ensure_future(engine.predict([blank]))
                try:
                    await self._running_time.wait(self._stuck_s, answer)
                finally:
                    if not answer.cancel():
                        answer.exception()  # retrieved: a failed batch is its callers' error
                return answer.done() or engine.batches != before
        except NoModel:
            return True

    def _progress(self) -> tuple[str | None, int]:
        """Return the version in service, if any, and its number of answered batches."""
        engine = self._model_manager.engine
        return (engine.manifest.version, engine.batches) if engine else (None, 0)

    def _hangs(self) -> bool:
        """Return True if any lane takes too long for one batch."""
        engine = self._model_manager.engine
        if engine is None:
            return False
        return self._running_time.elapsed_in_last(engine.busy_s()) > self._stuck_s
