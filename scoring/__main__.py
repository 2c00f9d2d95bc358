"""Command line of scoring: `python -m scoring --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tqdm import tqdm

from models import __version__
from models.bundle.store import default_store
from models.errors import FacemaskError
from models.interrupts import raise_interrupts
from models.terminal import run_command, write_error, write_line
from models.text import clean
from scoring.machines import add_machine_options
from scoring.output import Output
from scoring.plan import Options, Shard
from scoring.run import Run, RunOptions, open_run
from scoring.summary import describe, total

_INTERRUPTED_STATUS: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    raise_interrupts()
    try:
        lines: list[str] = arguments.run(arguments)
    except FacemaskError as error:
        write_error(clean(f"error: {error}"))
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        write_error("interrupted: run the same command again to resume")
        return _INTERRUPTED_STATUS
    for line in lines:
        write_line(clean(line))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse `show OUTPUT`, or else `INPUT OUTPUT [OPTION ...]`."""
    if argv[:1] == ["show"]:
        return _show_parser().parse_args(argv[1:])
    return _run_parser().parse_args(argv)


def _show_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scoring show", description="Sum up a complete output."
    )
    parser.add_argument("output", metavar="OUTPUT", help="folder of the shards; a path or a URL")
    parser.set_defaults(run=_show)
    return parser


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scoring",
        usage="%(prog)s INPUT OUTPUT [OPTION ...]\n       %(prog)s show OUTPUT",
        description="Classify an archive of pictures into Parquet files, one row per input. An "
        "interrupted run resumes when the same command is given again.",
        epilog="Exit status: 0 on success, 2 for a wrong command line, 3 for an input that cannot "
        "be used, 4 if OUTPUT holds another run, 5 if it is not complete, 6 if it cannot be "
        "written, 1 for a model that is refused.",
    )
    parser.add_argument("--version", action="version", version=f"facemask {__version__}")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="folder, list of paths (.txt), .tar, or .parquet; a path, or a URL such as s3://...",
    )
    parser.add_argument("output", metavar="OUTPUT", help="folder for the shards; a path or a URL")
    parser.add_argument(
        "--model",
        type=Path,
        default=default_store(),
        metavar="PATH",
        help="a bundle, or a store, whose current version is used (%(default)s)",
    )
    parser.add_argument("--faces", action="store_true", help="find faces, and answer each of them")
    parser.add_argument(
        "--framing",
        choices=("auto", "whole"),
        default="auto",
        help="whole: never look for the main face of a picture (%(default)s)",
    )
    parser.add_argument(
        "--threshold", type=_share, metavar="SHARE", help="uncertain below it (the model's)"
    )
    parser.add_argument(
        "--shard-size",
        type=_positive,
        default=Options.shard_size,
        metavar="N",
        help="inputs per shard (%(default)s)",
    )
    parser.add_argument(
        "--threads", type=_positive, default=0, metavar="N", help="batches at a time (the cores)"
    )
    parser.add_argument(
        "--trusted-keys", default="", metavar="KEYS", help="public keys, one of which has signed"
    )
    parser.add_argument(
        "--replace", action="store_true", help="remove shards of other runs from OUTPUT at the end"
    )
    add_machine_options(parser, "score")
    parser.set_defaults(run=_run)
    return parser


def _run(arguments: argparse.Namespace) -> list[str]:
    options = RunOptions(
        arguments.input,
        arguments.output,
        arguments.model,
        Options(arguments.faces, arguments.framing, arguments.threshold, arguments.shard_size),
        arguments.trusted_keys,
    )
    run = open_run(options, threads=arguments.threads)
    shards = run.plan()
    names = [shard.name for shard in shards]
    run.output.require_own(names, replace=arguments.replace)
    there = run.output.shards()
    missing = [shard for shard in shards if shard.name not in there]
    if arguments.task is not None:
        index, count = arguments.task
        missing = [shard for shard in missing if shard.index % count == index]
    if missing:
        _score(run, shards, missing, arguments.ray)
    left = len(shards) - len(run.output.shards().intersection(names))
    if left:
        return [f"{left} of {len(shards)} shards are left to other tasks."]
    facts = run.facts(shards)
    run.output.complete(names, facts)
    return describe(total(run.output, names), facts)


def _score(run: Run, shards: Sequence[Shard], missing: Sequence[Shard], ray: str | None) -> None:
    inputs = sum(shard.inputs for shard in shards)
    done = inputs - sum(shard.inputs for shard in missing)
    with tqdm(total=inputs, initial=done, unit="pic", disable=None if sys.stderr else True) as bar:
        if ray is None:
            run.score(missing, progress=bar.update)
            return
        from scoring.ray_runner import score_on_ray

        score_on_ray(ray, run.options, missing, progress=bar.update)


def _show(arguments: argparse.Namespace) -> list[str]:
    output = Output(arguments.output)
    facts = output.manifest()
    return describe(total(output, facts["shards"]), facts)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def run() -> None:
    """Run the command line and exit (console script)."""
    sys.exit(run_command(main))


if __name__ == "__main__":
    run()
