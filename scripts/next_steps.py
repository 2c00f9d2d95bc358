"""Prints where things are and what to do next: the box at the end of `make run`."""

import sys
from typing import Final

from pydantic import ValidationError

from models.terminal import format_box, run_command, write_line
from service.settings import Settings

_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    try:
        settings = Settings()
    except ValidationError:
        return 0  # the service, which starts next, says what is wrong
    for line in box(settings):
        write_line(line)
    return 0


def box(settings: Settings) -> list[str]:
    """Return the lines of the box."""
    host = _ANY_HOST.get(settings.host, settings.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    return format_box(
        "facemask",
        [
            ("page", f"{address}  (drop pictures on it)"),
            ("report", f"{address}/report  (how good the model is)"),
            ("docs", f"{address}/docs  (for programs)"),
            ("studio", "its address comes below  (label pictures, train, compare, put into use)"),
            ("stop", "Ctrl-C"),
            ("again", "make run  (takes seconds), or . .venv/bin/activate && python -m service"),
            (
                "your own",
                ". .venv/bin/activate && python -m training fit FOLDER  (one folder per class)",
            ),
        ],
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
