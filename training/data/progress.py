"""What a run tells its caller while it works: its step, counts, log lines and first figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

StepName = Literal[
    "prepare",
    "features",
    "audit",
    "int8",
    "copies",
    "evaluate",
    "finetune",
    "test",
    "robustness",
    "report",
    "publish",
    "draw",
]
"""Names of the steps of all commands, in the order of a run."""


def _ignore(*_: Any) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Progress:
    """Callbacks of the caller that waits for a run.

    Attributes:
        log: Takes one line of text.
        advance: Takes (pictures just done, pictures in total) of the current step.
        warn: Takes one line that needs attention; by default `log` takes it.
        begin: Takes the name of the step that begins, and so ends the one before.
        figure: Takes (name, value, low, high) of a figure as soon as it is known.
    """

    log: Callable[[str], object] = _ignore
    advance: Callable[[int, int], object] = _ignore
    warn: Callable[[str], object] | None = None
    begin: Callable[[StepName], object] = _ignore
    figure: Callable[[str, float, float | None, float | None], object] = _ignore

    def warning(self, line: str) -> None:
        """Log one line that needs attention."""
        (self.warn or self.log)(line)


SILENT: Final = Progress()
"""Ignores everything; the default of `progress` arguments."""
