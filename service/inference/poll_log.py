"""Log lines about polls of the store that fail or find no model: not one per poll."""

import logging
from collections.abc import Callable
from typing import Final

from models.errors import NoBundle, PointerUnreadable

log = logging.getLogger("facemask")

# Min seconds between two log lines about polls that fail in the same way.
_MIN_FAILURE_PAUSE_S: Final = 60.0

# Min seconds between two warnings that the store holds no model.
_MIN_EMPTY_PAUSE_S: Final = 600.0


class PollLog:
    """Memory of what was logged about polls, and when."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start with nothing logged; `clock` returns monotonic seconds."""
        self._clock = clock
        self._failure: tuple[str, float] | None = None  # the last one, and its time
        self._warned_at: float | None = None  # of the store without a model

    def succeeded(self) -> None:
        """Note that a poll did not fail."""
        self._failure = None

    def found_model(self) -> None:
        """Note that the store names a version."""
        self._warned_at = None

    def found_empty(self, error: NoBundle, *, is_serving: bool) -> None:
        """Log that the store holds no model, at once and rarely after that."""
        now = self._clock()
        if self._warned_at is None or now >= self._warned_at + _MIN_EMPTY_PAUSE_S:
            self._warned_at = now
            state = "the model in service stays" if is_serving else "requests get 503 until then"
            log.warning("%s (%s)", error, state)

    def failed(self, error: Exception) -> None:
        """Log the error of a poll, unless the last one failed in the same way a moment ago."""
        failure, now = repr(error), self._clock()
        if (
            self._failure
            and self._failure[0] == failure
            and now < self._failure[1] + _MIN_FAILURE_PAUSE_S
        ):
            return
        self._failure = (failure, now)
        if isinstance(error, PointerUnreadable):
            log.error("the store cannot be followed: %s", error)
        else:
            log.error("the store cannot be followed", exc_info=error)
