"""The parser of all commands, and the exit statuses."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from models import __version__
from models.errors import FacemaskError
from models.interrupts import raise_interrupts
from models.terminal import write_error
from models.text import clean
from studio.cli import data, jobs, key, promotion, serve, snapshot
from studio.settings import faults_of

EXIT_STATUSES = """exit statuses:
  0    success
  1    it cannot be done: no such project, nothing to train, the gate is closed, ...
  2    the command line or a setting is wrong
  3    the studio cannot listen on the address
  4    the training or the audit has failed
  5    the training or the audit was cancelled
  6    the output or the disk cannot be written to
  130  interrupted; a running job goes on by itself
"""

BAD_COMMAND_STATUS = 2
SYSTEM_STATUS = 6
INTERRUPTED_STATUS = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status."""
    arguments = build_parser().parse_args(sys.argv[1:] if argv is None else argv)
    raise_interrupts()
    try:
        status: int = arguments.run(arguments)
    except ValidationError as error:
        for fault in faults_of(error):
            write_error(f"error: {fault}")
        return BAD_COMMAND_STATUS
    except FacemaskError as error:
        write_error(clean(f"error: {error}"))
        return getattr(error, "exit_status", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        write_error(clean(f"error: {where}{error.strerror or error}."))
        return SYSTEM_STATUS
    except KeyboardInterrupt:
        write_error("interrupted: a running job goes on by itself")
        return INTERRUPTED_STATUS
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m studio",
        description="From folders of pictures to a served model. Without a command: serve the "
        "pages. Settings come from FACEMASK_STUDIO_* variables and FACEMASK_STORE.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"facemask {__version__}")
    serve.add_options(parser)
    parser.set_defaults(run=serve.run)
    commands = parser.add_subparsers(metavar="COMMAND")
    for module in (data, jobs, promotion, key, snapshot):
        module.add_commands(commands)
    return parser
