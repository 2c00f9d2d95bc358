"""Progress of a run in the terminal."""

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from models.text import clean
from training.data.progress import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar on standard error, and log lines on standard output above it.

    A run outlives its output: lines that cannot be written are dropped.
    """
    with tqdm(unit="pic", disable=None if sys.stderr else True) as bar:

        def log(line: str) -> None:
            if sys.stdout is not None:  # closed before the program started
                with contextlib.suppress(OSError):
                    bar.write(clean(line), file=sys.stdout)

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        yield Progress(log, advance)
