"""Log lines on standard error, for people or as JSON.

No line holds a picture, file name, header or query string: that is data of the caller. Untrusted
text in a line, such as a path or a name in the store, cannot begin a new line.
"""

import json
import logging
import sys
import threading
import time
import warnings
from types import TracebackType
from typing import Any, Final, Literal

from models.text import clean

Format = Literal["console", "json"]

# Extra fields of access lines, in this order.
FIELDS: Final = ("request_id", "method", "route", "status", "ms", "pictures", "code")


def configure_logging(format: Format = "console") -> None:
    """Log to standard error, one line per event."""
    # No line shows these, and looking them up costs as much as formatting a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else ConsoleFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # Defects of a caller's file are reported to the caller, not logged, and Python does not keep
    # a list of the warnings that they cause.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Python's own lines would be of another format.
    warnings.showwarning = _log_warning
    if format == "json":
        sys.excepthook = _log_crash
        threading.excepthook = _log_thread_crash


def format_event(level: str, message: str) -> str:
    """Return a line of the JSON format for an event outside the log."""
    number = logging.getLevelNamesMapping()[level.upper()]
    record = logging.LogRecord("facemask", number, "", 0, message, None, None)
    return JsonFormatter().format(record)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Log a warning in the place of `warnings.showwarning`."""
    logging.getLogger("facemask").warning(
        "%s: %s (%s, line %d)", category.__name__, message, filename, lineno
    )


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Log the error that ends the program, in the place of `sys.excepthook`."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        logging.getLogger("facemask").critical(
            "the program ends", exc_info=(kind, error, traceback)
        )


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    """Log the error that ends a thread, in the place of `threading.excepthook`."""
    if crash.exc_type is not SystemExit and crash.exc_value is not None:
        name = crash.thread.name if crash.thread else "of a thread"
        logging.getLogger("facemask").error(
            "the thread %s ends",
            name,
            exc_info=(crash.exc_type, crash.exc_value, crash.exc_traceback),
        )


class ConsoleFormatter(logging.Formatter):
    """Formatter of `time LEVEL logger: message`, followed by the event's own fields."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = f"{self._time(record)} {record.levelname} {record.name}: {message}"
        fields = [f"{name}={value}" for name, value in _fields(record).items()]
        # uvicorn logs the traceback of a failed start as the message.
        text = clean(" ".join([line, *fields]), lines=message.startswith("Traceback "))
        if not record.exc_info:
            return text
        return f"{text}\n{clean(self.formatException(record.exc_info), lines=True)}"

    def _time(self, record: logging.LogRecord) -> str:
        """Return the local time; its part down to the second is formatted once per second."""
        second = int(record.created)
        if self._second[0] != second:
            self._second = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)))
        return f"{self._second[1]},{int(record.msecs):03}"


class JsonFormatter(logging.Formatter):
    """Formatter of one JSON object per line, in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "time": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return clean(json.dumps(document, ensure_ascii=False))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    values = record.__dict__
    return {name: values[name] for name in FIELDS if values.get(name) is not None}
