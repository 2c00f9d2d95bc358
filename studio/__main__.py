"""Command line of the studio: `python -m studio --help`; without a command it serves the pages."""

import sys

from models.terminal import run_command
from studio.cli.main import main


def run() -> None:
    """Run the command line and exit (console script)."""
    sys.exit(run_command(main))


if __name__ == "__main__":
    run()
