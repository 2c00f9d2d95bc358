"""Options of the command line that divide a run among machines."""

import argparse


def add_machine_options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Declare `--task I/N` and `--ray [ADDRESS]`, of which one can be given.

    Args:
        parser: Receives `task`, a pair of numbers, and `ray`, an address; None if not given.
        verb: What the command does with a shard, for the help texts.
    """
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--task",
        type=_task,
        metavar="I/N",
        help=f"{verb} every N-th shard from the I-th on, I in 0 to N - 1: for Kubernetes Indexed "
        "Jobs and Slurm arrays",
    )
    where.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help=f"{verb} on the Ray cluster at this address, or on a local one",
    )


def _task(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text} is not I/N with I in 0 to N - 1")
    return int(index), int(count)
