"""`python -m training extract`: extract features on one machine or many, for `fit --features`."""

import argparse
from typing import Any

from models.terminal import write_line
from models.text import clean
from scoring.machines import add_machine_options
from training.cli.options import add_backbone_options, add_weights_option, count
from training.cli.progress.reporter import add_progress_options, report_run
from training.cli.progress.steps import make_steps
from training.config import PRESETS
from training.errors import TrainingError


def add_command(commands: Any) -> None:
    """Declare the subcommand and its options."""
    parser = commands.add_parser(
        "extract",
        help="extract features on many machines, for `fit --features`",
        description="Extract the features of pictures into Parquet files, one row per picture. An "
        "interrupted run resumes when the same command is given again.",
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="folder, list of paths (.txt), .tar, or .parquet; a path, or a URL such as s3://...",
    )
    parser.add_argument("output", metavar="OUTPUT", help="folder for the files; a path or a URL")
    add_backbone_options(parser)
    add_weights_option(parser)
    parser.add_argument(
        "--shard-size", type=count, default=1000, metavar="N", help="pictures per file (1000)"
    )
    parser.add_argument(
        "--threads", type=count, default=0, metavar="N", help="batches at a time (the cores)"
    )
    parser.add_argument(
        "--replace", action="store_true", help="remove files of other runs from OUTPUT at the end"
    )
    add_machine_options(parser, "extract")
    add_progress_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Extract what is missing, and print the outcome."""
    facts = {"data": clean(arguments.input), "store": clean(arguments.output)}
    with report_run(
        make_steps("features"), facts, form=arguments.progress, file=arguments.progress_file
    ) as reporter:
        try:
            with reporter.imports():
                from training.job.extract import ExtractOptions, extract_shards
        except ModuleNotFoundError as error:
            raise TrainingError(f"`extract` needs the extra `scoring` ({error}).") from error
        options = ExtractOptions(
            arguments.input,
            arguments.output,
            PRESETS.get(arguments.preset, arguments.backbone),
            arguments.weights,
            max(1, arguments.shard_size),
        )
        outcome = extract_shards(
            options,
            threads=arguments.threads,
            task=arguments.task,
            ray=arguments.ray,
            replace_others=arguments.replace,
            progress=reporter.progress,
        )
    write_line(clean(outcome))
    return 0
