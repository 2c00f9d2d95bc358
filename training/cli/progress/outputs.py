"""Forms of progress: a bar on a terminal, lines, JSON events, or nothing."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from models.text import clean
from training.cli.progress.steps import Step
from training.cli.progress.tracker import Snapshot

_LINE_EVERY_S: Final = 15.0
_BAR_CHARS: Final = 20
_CLEAR_LINE: Final = "\r\x1b[K"


class Output:
    """A form of progress that shows nothing; base of the others.

    A run outlives its output: lines that cannot be written are dropped.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Write to a stream; to none if it is None."""
        self._stream = stream

    def started(self, steps: list[Step], facts: Mapping[str, Any]) -> None:
        """Show that the run begins."""

    def step(self, snapshot: Snapshot) -> None:
        """Show that a step begins."""

    def tick(self, snapshot: Snapshot) -> None:
        """Show how far the run is; called about once per second."""

    def log(self, level: str, line: str) -> None:
        """Show a line: it is on standard output, too, unless that is closed."""
        if sys.stdout is not None:
            with contextlib.suppress(OSError):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()

    def figure(self, name: str, value: float, low: float | None, high: float | None) -> None:
        """Show a figure as soon as it is known."""

    def ended(self, event: str, facts: Mapping[str, Any]) -> None:
        """Show the end: `finished` or `failed`."""

    def _write(self, text: str) -> None:
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # without a reader, or closed
                self._stream = None


class Lines(Output):
    """A line per step, and every 15 seconds."""

    _last = 0.0

    def step(self, snapshot: Snapshot) -> None:
        self._last = time.monotonic()
        self._write(f"{_step_text(snapshot)} ...\n")

    def tick(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._last >= _LINE_EVERY_S:
            self._last = time.monotonic()
            self._write(f"{_step_text(snapshot)}: {_state_text(snapshot)}\n")


class Bar(Output):
    """One bar for the whole run, on the last line of a terminal."""

    _drawn = ""

    def step(self, snapshot: Snapshot) -> None:
        self.tick(snapshot)

    def tick(self, snapshot: Snapshot) -> None:
        filled = round(snapshot.overall * _BAR_CHARS)
        bar = "#" * filled + "." * (_BAR_CHARS - filled)
        text = f"[{bar}] {_state_text(snapshot)} | {_step_text(snapshot)}"
        width = shutil.get_terminal_size().columns - 1
        self._drawn = text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."
        self._write(f"{_CLEAR_LINE}{self._drawn}")

    def log(self, level: str, line: str) -> None:
        self._write(_CLEAR_LINE)
        super().log(level, line)
        self._write(self._drawn)

    def ended(self, event: str, facts: Mapping[str, Any]) -> None:
        self._drawn = ""
        self._write(_CLEAR_LINE)


class Events(Output):
    """One JSON object per line, for a program that started the run."""

    def started(self, steps: list[Step], facts: Mapping[str, Any]) -> None:
        named = [{"name": step.name, "title": step.title} for step in steps]
        self._event("started", {"steps": named, **facts})

    def step(self, snapshot: Snapshot) -> None:
        self._event(
            "step",
            {
                "name": snapshot.step.name,
                "index": snapshot.index,
                "of": snapshot.of,
                "title": snapshot.step.title,
            },
        )
        self.tick(snapshot)

    def tick(self, snapshot: Snapshot) -> None:
        self._event(
            "progress",
            {
                "step": snapshot.step.name,
                "done": snapshot.done,
                "total": snapshot.total,
                "rate": _rounded(snapshot.rate, 2),
                "left_s": _rounded(snapshot.left_s, 1),
                "overall": round(snapshot.overall, 4),
                "overall_left_s": _rounded(snapshot.overall_left_s, 1),
            },
        )

    def log(self, level: str, line: str) -> None:
        super().log(level, line)
        self._event("log", {"level": level, "message": line})

    def figure(self, name: str, value: float, low: float | None, high: float | None) -> None:
        self._event("figure", {"name": name, "value": value, "low": low, "high": high})

    def ended(self, event: str, facts: Mapping[str, Any]) -> None:
        self._event(event, facts)

    def _event(self, event: str, facts: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._write(json.dumps({"time": now, "event": event, **facts}) + "\n")


def duration(seconds: float) -> str:
    """Return a duration in words: "40 s", "2 min", "1 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _step_text(snapshot: Snapshot) -> str:
    return f"step {snapshot.index} of {snapshot.of}: {clean(snapshot.step.title)}"


def _state_text(snapshot: Snapshot) -> str:
    parts = [f"{snapshot.overall:.0%}"]
    if snapshot.overall_left_s is not None:
        parts.append(f"about {duration(snapshot.overall_left_s)} left")
    if snapshot.total:
        rate = f" at {snapshot.rate:.0f}/s" if snapshot.rate else ""
        parts.append(f"{snapshot.done:,} of {snapshot.total:,} pictures{rate}")
    return ", ".join(parts)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
