"""Logging: where lines go, and their format."""

import io
import json
import logging
import re
from collections.abc import Callable

import pytest

from service.telemetry.logging import JsonFormatter, configure_logging


def test_configure_logging_writes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    root = logging.Logger("root")
    make: Callable[..., logging.StreamHandler[io.StringIO]] = logging.StreamHandler
    monkeypatch.setattr(logging, "root", root)
    for name in ("logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, True)
    monkeypatch.setattr(logging, "StreamHandler", lambda *_: make(stream))
    configure_logging()
    root.info("hello")
    assert re.fullmatch(r"[\d: ,-]+ INFO root: hello\n", stream.getvalue())


def test_json_formatter_writes_one_object_with_the_moment_in_utc() -> None:
    record = logging.LogRecord("facemask", logging.WARNING, "x", 1, "%s ünï", ("a",), None)
    record.created, record.msecs = 1_800_000_000.25, 250.0
    assert json.loads(JsonFormatter().format(record)) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "facemask",
        "message": "a ünï",
    }
