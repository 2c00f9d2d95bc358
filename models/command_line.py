"""The command `facemask`: `facemask fit`, `facemask serve` and so on, of the installed packages."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import models
from models.terminal import run_command, write_error, write_line

# Package of each command, and the arguments that the package's own command line begins with.
_COMMANDS: Final = {
    "fit": ("training", ["fit"], "train a classifier and publish it"),
    "audit": ("training", ["audit"], "look for faults of a data set"),
    "sample": ("training", ["sample"], "write a synthetic sample data set"),
    "serve": ("service", [], "answer by HTTP, with a web page"),
    "models": ("models", [], "list, compare, promote, roll back and verify models"),
    "score": ("scoring", [], "answer a whole folder or archive without HTTP"),
    "studio": ("studio", [], "collect, label, train and promote in the browser"),
    "predict": ("facemask_client", [], "ask a running service"),
}
_WRONG_COMMAND_LINE: Final = 2
_NOT_INSTALLED: Final = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of an installed package, and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = arguments[0] if arguments else "--help"
    if first == "--version":
        write_line(f"facemask {models.__version__}")
        return 0
    if first in ("--help", "-h"):
        for line in _help_lines():
            write_line(line)
        return 0 if arguments else _WRONG_COMMAND_LINE
    if first not in _COMMANDS:
        write_error(f"error: no command {first!r}: there are {', '.join(_COMMANDS)}.")
        return _WRONG_COMMAND_LINE
    package, begin, _ = _COMMANDS[first]
    if find_spec(package) is None:
        write_error(f"error: `facemask {first}` needs the package {package}, not installed here.")
        return _NOT_INSTALLED
    command = import_module(f"{package}.__main__")
    status: int = command.main([*begin, *arguments[1:]])
    return status


def _help_lines() -> list[str]:
    width = max(map(len, _COMMANDS))
    lines = ["usage: facemask COMMAND ...", ""]
    for name, (package, _, purpose) in _COMMANDS.items():
        note = "" if find_spec(package) else " (not installed here)"
        lines.append(f"  {name.ljust(width)}  {purpose}{note}")
    end = "`facemask COMMAND --help` lists the options; `facemask --version` prints the version."
    return [*lines, "", end]


def run() -> None:
    """Run the command line and exit (console script)."""
    sys.exit(run_command(main))


if __name__ == "__main__":
    run()
