"""Log lines and progress counts of a run, carried as one argument."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Progress:
    """Callbacks of the caller that waits for a run.

    Attributes:
        log: Takes one line of text.
        advance: Takes (pictures just done, pictures in total).
    """

    log: Callable[[str], object] = lambda line: None
    advance: Callable[[int, int], object] = lambda done, total: None


SILENT: Final = Progress()
"""Ignores everything; the default of `progress` arguments."""
