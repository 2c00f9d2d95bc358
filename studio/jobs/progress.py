"""The progress file of a job: one JSON object per line, appended while the job runs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

EVENTS: Final = ("started", "step", "progress", "figure", "log", "finished", "failed")
"""Events that a job writes; `state` is the studio's own."""

_MAX_LINE_BYTES: Final = 2**20
_MAX_READ_BYTES: Final = 2**22


@dataclass(frozen=True)
class Event:
    """One event of a job.

    Attributes:
        name: Kind of the event.
        time: When it happened, ISO 8601 in UTC.
        body: Its other members.
    """

    name: str
    time: str
    body: dict[str, Any]


def read_events(path: Path, offset: int, *, ended: bool = False) -> tuple[list[Event], int]:
    """Return the events of the lines after an offset, and the offset of the rest.

    A line without its end is being written, and is left for the next call. A line that is not
    an event is skipped: other output may get into the file.

    Args:
        path: The progress file; a missing one has no events.
        offset: Bytes that were read before.
        ended: Nothing is written any more: skip a torn line at the end.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(_MAX_READ_BYTES)
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    if not end and (ended or len(data) > _MAX_LINE_BYTES):
        end = len(data)
    events = [event for line in data[:end].splitlines() if (event := _parse(line)) is not None]
    return events, offset + end


def _parse(line: bytes) -> Event | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    name, moment = document.pop("event", None), document.pop("time", "")
    if name not in EVENTS or not isinstance(moment, str):
        return None
    return Event(name, moment[:40], document)
