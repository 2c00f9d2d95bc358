"""Reporter of a run: takes its progress, and shows it in the chosen form."""

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from models.errors import FacemaskError, reason_of
from models.interrupts import exit_at_interrupt
from models.terminal import write_error
from models.text import clean
from training.cli.progress.outputs import Bar, Events, Lines, Output
from training.cli.progress.steps import Step
from training.cli.progress.tracker import Tracker
from training.data.progress import Progress, StepName
from training.errors import OutputError

INTERRUPTED_STATUS: Final = 130
"""The shell's status for a program that Ctrl-C ended."""
INTERRUPTED_LINE: Final = (
    "interrupted: nothing was published; run the same command again to go on, "
    "pictures already read come from the cache"
)
_TICK_S: Final = 0.5


class Reporter:
    """Progress of one run; its callbacks may be called from any thread."""

    def __init__(self, steps: Sequence[Step], output: Output) -> None:
        self._tracker = Tracker(steps)
        self._output = output
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ended = False
        self.progress = Progress(
            log=lambda line: self._log("info", line),
            advance=self._advance,
            warn=lambda line: self._log("warning", line),
            begin=self._begin,
            figure=self._figure,
        )

    def start(self, facts: Mapping[str, Any]) -> None:
        """Show that the run begins, with facts about it."""
        self._output.started(self._tracker.steps, facts)
        self._output.step(self._tracker.snapshot())
        threading.Thread(target=self._tick, name="progress", daemon=True).start()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Show that the run succeeded; later calls, and `fail`, show nothing."""
        self._end("finished", facts)

    def fail(self, exit_status: int, code: str, message: str) -> None:
        """Show that the run failed."""
        facts = {"exit_status": exit_status, "code": code, "message": clean(message)}
        self._end("failed", facts)

    def interrupt(self) -> None:
        """Show that the run was interrupted."""
        self.fail(INTERRUPTED_STATUS, "interrupted", "Interrupted: nothing was published.")

    @contextmanager
    def imports(self) -> Iterator[None]:
        """End an interrupted run at once in the block, which only imports; that takes seconds."""

        def before() -> None:
            self.interrupt()
            write_error(INTERRUPTED_LINE)

        with exit_at_interrupt(INTERRUPTED_STATUS, before):
            yield

    def _end(self, event: str, facts: Mapping[str, Any]) -> None:
        self._stop.set()
        with self._lock:
            if not self._ended:
                self._ended = True
                self._output.ended(event, facts)

    def _log(self, level: str, line: str) -> None:
        with self._lock:
            self._output.log(level, clean(line))

    def _advance(self, done: int, total: int) -> None:
        with self._lock:
            self._tracker.advance(done, total)

    def _begin(self, name: StepName) -> None:
        with self._lock:
            if self._tracker.begin(name):
                self._output.step(self._tracker.snapshot())

    def _figure(self, name: str, value: float, low: float | None, high: float | None) -> None:
        with self._lock:
            self._output.figure(name, value, low, high)

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_S):
            with self._lock:
                if not self._ended:
                    self._output.tick(self._tracker.snapshot())


def add_progress_options(parser: argparse.ArgumentParser) -> None:
    """Add the form of progress and the file that it goes to."""
    parser.add_argument(
        "--progress",
        choices=("auto", "lines", "json", "none"),
        default="auto",
        help="form of the progress: a bar on a terminal and else lines (auto), lines, one JSON "
        "object per line, or none",
    )
    parser.add_argument(
        "--progress-file",
        type=Path,
        metavar="FILE",
        help="append the progress there (a file, a FIFO, /dev/fd/N), not to standard error",
    )


@contextmanager
def report_run(
    steps: Sequence[Step],
    facts: Mapping[str, Any] | None = None,
    *,
    form: str = "auto",
    file: Path | None = None,
) -> Iterator[Reporter]:
    """Report a run, and how it ends.

    Args:
        steps: Its steps.
        facts: Facts for the event `started`.
        form: As `--progress`.
        file: As `--progress-file`; standard error by default.

    Raises:
        OutputError: The file cannot be opened.
    """
    with ExitStack() as stack:
        stream: TextIO | None = sys.stderr
        if file is not None:
            stream = stack.enter_context(_open(file))
        output = _output(form, stream)
        reporter = Reporter(steps, output)
        try:
            reporter.start({**(facts or {}), "pid": os.getpid()})
            yield reporter
        except FacemaskError as error:
            reporter.fail(getattr(error, "exit_status", 1), error.code, str(error))
            raise
        except KeyboardInterrupt:
            reporter.interrupt()
            raise
        except BaseException as error:
            reporter.fail(1, "internal_error", f"{type(error).__name__}: {error}")
            raise
        reporter.finish({})


def _open(path: Path) -> TextIO:
    try:
        return open(path, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({reason_of(error)}).") from error


def _output(form: str, stream: TextIO | None) -> Output:
    if form == "auto":
        terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
        return Bar(stream) if terminal else Lines(stream)
    return {"lines": Lines, "json": Events, "none": Output}[form](stream)
