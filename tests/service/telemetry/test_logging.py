"""Logging: where lines go, and their format."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from service.telemetry.logging import ConsoleFormatter, JsonFormatter, configure_logging


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


@pytest.mark.parametrize("formatter", [ConsoleFormatter(), JsonFormatter()])
def test_names_of_others_cannot_begin_a_line(formatter: logging.Formatter) -> None:
    name = "a\n2027-01-15 ERROR root: forged\x1b[31m\u2028\u202e\udce9"
    record = logging.LogRecord("facemask", logging.INFO, "x", 1, "refused: %s", (name,), None)
    line = formatter.format(record)
    line.encode()
    assert len(line.splitlines()) == 1
    assert not set(line) & set("\x1b\u2028\u202e\udce9")


def test_traceback_keeps_its_lines_and_no_control_characters() -> None:
    try:
        raise ValueError("a\x1bb")
    except ValueError as error:
        record = logging.LogRecord(
            "facemask", logging.ERROR, "x", 1, "failed", (), (type(error), error, None)
        )
    assert ConsoleFormatter().format(record).splitlines()[1:] == ["ValueError: a\ufffdb"]


def test_traceback_as_message_keeps_its_lines() -> None:
    """uvicorn logs one where the application does not start."""
    message = "Traceback (most recent call last):\n  File x\nOSError: no"
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "f", 1, message, None, None)
    assert ConsoleFormatter().format(record).endswith(message)


_CRASHES = """
import threading, warnings
from service.telemetry.logging import configure_logging
configure_logging("json")
warnings.warn("of a\\nlibrary")
thread = threading.Thread(target=lambda: 1 / 0, name="lane")
thread.start()
thread.join()
raise OSError("at the end")
"""


def test_warnings_and_crashes_are_lines_of_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CRASHES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    warning, thread, crash = map(json.loads, done.stderr.splitlines())
    assert warning["level"] == "warning"
    assert warning["message"].startswith("UserWarning: of a\nlibrary (<string>, line 5)")
    assert thread["message"] == "the thread lane ends"
    assert "ZeroDivisionError" in thread["exception"]
    assert (crash["level"], crash["message"]) == ("critical", "the program ends")
    assert crash["exception"].endswith("OSError: at the end")
