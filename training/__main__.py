"""Command line of the training job: `python -m training --help`."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

import models
from models.allocator import retain_memory
from models.environment import warn_of_injected, warn_of_misspelt
from models.errors import FacemaskError
from models.interrupts import raise_interrupts
from models.terminal import run_command, write_error
from models.text import clean
from training.cli import audit, extract, fit, sample
from training.cli.progress.reporter import INTERRUPTED_LINE, INTERRUPTED_STATUS

_VARIABLES: Final = ("FACEMASK_STORE", "FACEMASK_CACHE")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand, and return its exit status."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(format="warning: %(message)s")
    warn_of_injected(_VARIABLES)
    warn_of_misspelt(_VARIABLES)
    raise_interrupts()
    try:
        status: int = arguments.run(arguments)
    except FacemaskError as error:
        write_error(clean(f"error: {error}"))
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        write_error(INTERRUPTED_LINE)
        return INTERRUPTED_STATUS
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train a picture classifier and publish it."
    )
    parser.add_argument("--version", action="version", version=f"facemask {models.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (sample, fit, audit, extract):
        command.add_command(commands)
    return parser


def run() -> None:
    """Run the command line and exit (console script)."""
    retain_memory()
    status = run_command(main)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # started by torchrun
        # A thread of gloo that still frees a tensor while the interpreter ends would abort the
        # process; so do not let the interpreter end. The output is flushed.
        os._exit(status)
    gc.freeze()  # or the interpreter, as it ends, takes a second to collect half a million objects
    sys.exit(status)


if __name__ == "__main__":
    run()
