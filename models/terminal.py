"""Standard output and error of a command, robust against encodings, closed pipes, full disks."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from models.errors import reason_of

READER_GONE_STATUS: Final = 141
"""Exit status after the reader of a pipe has gone, as for a program that SIGPIPE ends."""
OUTPUT_FAILED_STATUS: Final = 6
"""Exit status if the output cannot be written, such as to a full disk."""

_RULE_CHARS: Final = 72


class _OutputFailed(Exception):
    """Standard output cannot be written to; the cause is an `OSError`."""


NUMPY_WARNING: Final = "Failed to initialize NumPy"
"""Beginning of PyTorch's warning where NumPy is not installed; nothing here needs it."""


def run_command(command: Callable[[], int]) -> int:
    """Run a command and return its exit status, with any kind of output.

    Characters that the terminal's encoding lacks are written as escapes. If standard output is
    closed, full or no longer read, the command ends with a status of its own.
    """
    warnings.filterwarnings("ignore", NUMPY_WARNING)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = command()
        except SystemExit as exit:  # of argparse
            status = exit.code if isinstance(exit.code, int) else 1
        flush_output()
    except _OutputFailed as failed:
        status = _close_output(failed.__cause__)
    _flush_errors()
    return status


def format_box(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return lines between two rules: a title, and rows of a name and a text.

    The texts are not wrapped, so that paths and commands can be copied.
    """
    width = max(len(name) for name, _ in rows)
    rule = "-" * _RULE_CHARS
    heading = f"-- {title} ".ljust(_RULE_CHARS, "-")
    return [heading, *(f"  {name.ljust(width)}  {text}" for name, text in rows), rule]


def write_line(line: str = "") -> None:
    """Write a line to standard output; if that fails, `run_command` ends the command."""
    if sys.stdout is None:  # closed before the program started
        return
    try:
        sys.stdout.write(f"{line}\n")
    except OSError as error:
        raise _OutputFailed from error


def write_if_possible(line: str) -> None:
    """Write a line to standard output and flush it; ignore failures."""
    try:
        write_line(line)
        flush_output()
    except _OutputFailed:
        _discard(sys.stdout)


def flush_output() -> None:
    """Flush standard output; if that fails, `run_command` ends the command."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _OutputFailed from error


def write_error(line: str) -> None:
    """Write a line to standard error and flush it; ignore failures."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _close_output(error: BaseException | None) -> int:
    """Discard the rest of the output, and return the exit status."""
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return READER_GONE_STATUS
    reason = reason_of(error) if isinstance(error, Exception) else "unknown"
    write_error(f"error: standard output cannot be written to ({reason}).")
    return OUTPUT_FAILED_STATUS


def _flush_errors() -> None:
    """Flush standard error; ignore failures."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Redirect a stream to os.devnull, so that the interpreter reports no error at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):  # a stream without a file, as in tests
        pass
    finally:
        os.close(nowhere)
