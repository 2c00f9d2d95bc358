"""`python -m studio snapshot`: copy all projects into a new folder, while the studio is in use."""

import argparse
from pathlib import Path
from typing import Any

from studio.cli.context import add_common_options, open_context
from studio.settings import DATABASE_FILE
from studio.versions.snapshot import save_snapshot


def add_commands(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "snapshot", help="copy database, pictures and versions while the studio is in use"
    )
    parser.add_argument(
        "target",
        type=Path,
        help="new folder; with FACEMASK_STUDIO_DATA set to it, the studio is as it was",
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Copy the data, and print the number of pictures."""
    with open_context(arguments) as studio:
        number = save_snapshot(
            studio.database,
            studio.settings.data,
            arguments.target,
            database_file=DATABASE_FILE,
        )
        studio.write(
            {"target": str(arguments.target), "pictures": number},
            f"{arguments.target}: the database, and {number:,} pictures with all versions",
        )
    return 0
