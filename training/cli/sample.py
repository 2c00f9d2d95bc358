"""`python -m training sample`: write the synthetic sample data set."""

import argparse
from pathlib import Path
from typing import Any

from models.cpu import usable_cores
from models.terminal import write_line
from models.text import clean
from training.cli.progress.reporter import add_progress_options, report_run
from training.cli.progress.steps import make_steps


def add_command(commands: Any) -> None:
    """Declare the subcommand and its options."""
    parser = commands.add_parser("sample", help="write a synthetic sample data set")
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--classes",
        nargs="+",
        choices=("mask", "no_mask", "incorrect"),
        default=("mask", "no_mask"),
        help="folders to draw (mask no_mask); incorrect: masks worn below the nose",
    )
    parser.add_argument("--per-class", type=int, default=180, help="pictures per class (180)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (0)")
    parser.add_argument("--if-missing", action="store_true", help="do nothing if DIR exists")
    add_progress_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures, and print the folder."""
    from training.sample import make_sample

    if arguments.if_missing and arguments.directory.is_dir():
        write_line(f"{arguments.directory} is there already.")
        return 0
    facts = {"data": clean(str(arguments.directory))}
    with report_run(
        make_steps("draw"), facts, form=arguments.progress, file=arguments.progress_file
    ) as reporter:
        make_sample(
            arguments.directory,
            classes=list(dict.fromkeys(arguments.classes)),
            per_class=arguments.per_class,
            seed=arguments.seed,
            processes=usable_cores(),
            progress=reporter.progress.advance,
        )
    write_line(str(arguments.directory))
    return 0
