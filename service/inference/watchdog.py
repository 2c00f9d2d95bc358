"""Whether the model still answers: the ground of /livez; and rest, where nobody asks it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import torch

from service.inference.batcher import BatcherClosed, BatchFailed
from service.inference.model_manager import Live
from service.problems import NoModel, Stuck
from service.process.allocator import release_free_memory
from service.process.background import run_in_background_thread

_LOOKS: Final = 4  # in the time after which silence counts


class Heart:
    """Notices lanes that hang, and a model of which no lane works.

    Every answered batch is a beat. Where there was none for a while a blank picture is sent the
    way that all pictures go, so that a quiet service is told from a stuck one. A service that
    has become quiet gives back the memory that it had needed.
    """

    def __init__(self, live: Live, *, stuck_s: float, rest: Callable[[], None] = release_free_memory) -> None:
        """Begin with a model that was busy: it has just been loaded.

        Args:
            live: Whose model to watch.
            stuck_s: Seconds without a beat that are too many.
            rest: Called on a thread when the model has become quiet.
        """
        self._live = live
        self._rest = rest
        self.rested = False
        self._stuck_s = stuck_s
        self.stuck = False

    def require(self) -> None:
        """Pass unless the model hangs.

        Raises:
            Stuck: It does.
        """
        if self.stuck:
            raise Stuck("The model's worker does not answer: restart the service.")

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            version, seen = self._counted()
            await asyncio.sleep(self._stuck_s / _LOOKS)  # holding no engine: it may be replaced
            now, counted = self._counted()
            beats = version is not None and version == now and counted != seen
            self.stuck = self._hangs() or not (beats or await self.answers())
            if not (beats or self.rested):
                await run_in_background_thread(self._rest)
            self.rested = not beats

    def _counted(self) -> tuple[str | None, int]:
        """The version that serves, if any, and the batches that it has answered."""
        engine = self._live.engine
        return (engine.manifest.version, engine.batches) if engine else (None, 0)

    def _hangs(self) -> bool:
        """Whether one lane is too long at one batch, whatever the others do."""
        engine = self._live.engine
        return engine is not None and engine.busy_s() > self._stuck_s

    async def answers(self) -> bool:
        """Whether the model that serves, if any, answers a blank picture or another in time."""
        try:
            with self._live.use() as engine:
                seen = engine.batches
                if not engine.alive():
                    return False
                size = engine.manifest.input_px
                blank = torch.zeros((3, size, size), dtype=torch.uint8)
                # A batch that fails is told to its callers; the worker goes on.
                with contextlib.suppress(BatchFailed, BatcherClosed):
                    await asyncio.wait_for(engine.predict([blank]), self._stuck_s)
        except NoModel:
            return True
        except TimeoutError:
            return engine.batches != seen
        return True
