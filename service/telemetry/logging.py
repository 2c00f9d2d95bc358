"""Logs: one line an event on standard error, for people or for machines.

Nothing logged holds a picture, a file's name, a header or a query: those are the callers'.
"""

import json
import logging
import time
import warnings
from typing import Any, Final, Literal

Format = Literal["console", "json"]

# What an access line says, and in which order.
FIELDS: Final = ("request_id", "method", "route", "status", "ms", "pictures", "code")


def configure_logging(format: Format = "console") -> None:
    """Log to standard error, one line an event."""
    # No line says these, and asking for them costs as much as a line's own text.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if format == "json" else Console())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # What is wrong with a caller's file is for the caller: strangers write no errors into this
    # log, and Python keeps no list of every warning that their files gave rise to.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


class Console(logging.Formatter):
    """`time LEVEL logger: message`, then an event's own fields."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self._moment(record)} {record.levelname} {record.name}: {record.getMessage()}"
        words = [f"{name}={value}" for name, value in _fields(record).items()]
        text = " ".join([line, *words])
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text

    def _moment(self, record: logging.LogRecord) -> str:
        """Local time; the part that changes once a second is made once a second."""
        second = int(record.created)
        if self._second[0] != second:
            self._second = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)))
        return f"{self._second[1]},{int(record.msecs):03}"


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = record.__dict__
    return {name: given[name] for name in FIELDS if given.get(name) is not None}
