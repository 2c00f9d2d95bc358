"""Outputs of the command: lines for the terminal, a CSV table, JSON lines, messages on stderr."""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from facemask_client.answers import Answer
from facemask_client.text import clean, reason_of

_CLASSIFICATION = ("decision", "label", "score", "familiar", "distance")
_BOX = ("left", "top", "width", "height")
_COLUMNS = ("file", *_CLASSIFICATION, "framing", "threshold", "model", "error", *_BOX)
_UNFAMILIAR = "unfamiliar"
_NO_FACE = "No face was found."

Writer = Callable[[Answer], None]


class OutputError(Exception):
    """An output cannot be written.

    Attributes:
        has_no_reader: True if it is a pipe that nobody reads any longer, as of `| head -1`.
    """

    def __init__(self, output: object, error: Exception) -> None:
        """Name the output and the reason."""
        super().__init__(f"{clean(output)}: {reason_of(error)}.")
        self.has_no_reader = isinstance(error, BrokenPipeError)


def open_writers(
    stack: contextlib.ExitStack, csv_path: Path | None, json_path: Path | None
) -> list[Writer]:
    """Open the given files and return one writer per file, or one for the terminal.

    Raises:
        OutputError: A file cannot be opened, or standard output is closed. The writers raise it if
            an answer cannot be written.
    """
    writers: list[Writer] = []
    if csv_path is not None:
        table = stack.enter_context(_open(csv_path))
        writers.append(_csv_writer(csv_path, table))
    if json_path is not None:
        writers.append(_json_writer(json_path, stack.enter_context(_open(json_path))))
    return writers or [_terminal_writer()]


def print_message(text: str) -> None:
    """Print a line on stderr, if there is one that takes it."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"{clean(text)}\n")


def release_stdout() -> None:
    """Point standard output to nothing, so that the exit does not fail on what is left in it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _errors_of(output: object) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise OutputError(output, error) from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    # A file that cannot be written fails again when it is closed.
    with _errors_of(path), path.open("w", encoding="utf-8", newline="") as file:
        yield file


def _csv_writer(path: Path, file: TextIO) -> Writer:
    table = csv.writer(file)
    with _errors_of(path):
        table.writerow(_COLUMNS)

    def write(answer: Answer) -> None:
        with _errors_of(path):
            table.writerows([_cell(row, name) for name in _COLUMNS] for row in _rows(answer))
            file.flush()

    return write


def _json_writer(path: Path, file: TextIO) -> Writer:
    def write(answer: Answer) -> None:
        fields = asdict(answer) | {"file": clean(answer.file)}
        with _errors_of(path):
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            file.flush()

    return write


def _terminal_writer() -> Writer:
    output = "standard output"
    if sys.stdout is None:
        raise OutputError(output, ValueError("it is closed"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal's encoding lacks is printed as its number.
        sys.stdout.reconfigure(errors="backslashreplace")

    def write(answer: Answer) -> None:
        with _errors_of(output):
            for row in _rows(answer):
                sys.stdout.write("\t".join(_terminal_cells(row)) + "\n")
            sys.stdout.flush()

    return write


def _rows(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the table rows of one picture: one row, or one per face."""
    row = {name: getattr(answer, name, None) for name in _COLUMNS} | {"file": clean(answer.file)}
    if answer.box is not None:
        row |= asdict(answer.box)
    for face in answer.faces or ():
        yield row | {name: getattr(face, name) for name in (*_CLASSIFICATION, *_BOX)}
    if answer.faces is None:
        yield row
    elif not answer.faces:
        yield row | {"error": _NO_FACE}


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    text = "" if value is None else str(value)
    # A spreadsheet would run text with such a beginning as a formula (CSV injection).
    is_formula = isinstance(value, str) and text.startswith(("=", "+", "-", "@"))
    return f"'{text}" if is_formula else text


def _terminal_cells(row: Mapping[str, Any]) -> Iterator[str]:
    yield row["file"]
    yield row["error"] if row["score"] is None else f"{row['decision']}\t{row['score']:.4f}"
    yield from (str(row[side]) for side in _BOX if row[side] is not None)
    if row["decision"] == _UNFAMILIAR:  # the score is of the class that would be likeliest
        yield f"likeliest: {row['label']}"
    elif row["familiar"] is False:  # an earlier service, which decides for a class all the same
        yield _UNFAMILIAR
