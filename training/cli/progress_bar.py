"""Progress of a run in the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from training.data.progress import Progress


@contextmanager
def progress_bar(total: int | None = None) -> Iterator[Progress]:
    """Show a bar on standard error, and log lines on standard output above it."""
    with tqdm(total=total, unit="pic", disable=None) as bar:

        def log(line: str) -> None:
            bar.write(line, file=sys.stdout)

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        yield Progress(log, advance)
