"""The training job's command line: `python -m training --help`."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from models.errors import FacemaskError
from training.config import DEFAULT_STORE, FitConfig, default_cache

_INTERRUPTED = 130  # the shell's status for a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _as_interrupt)  # `docker stop` is to end as Ctrl-C does
    try:
        status: int = arguments.run(arguments)
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        print(
            "interrupted: nothing was published; run the same command again to go on, "
            "pictures already read come from the cache",
            file=sys.stderr,
        )
        return _INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train a picture classifier and publish it."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sample = commands.add_parser("sample", help="write a synthetic sample data set")
    sample.add_argument("directory", type=Path, metavar="DIR", help="folder to make")
    sample.add_argument("--per-class", type=int, default=180, help="pictures a class (180)")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--if-missing", action="store_true", help="do nothing if DIR exists")
    sample.set_defaults(run=_sample)

    fit = commands.add_parser("fit", help="train on a folder with one folder per class")
    defaults = FitConfig()
    fit.add_argument("data", type=Path, metavar="DIR", help="folder or zip file of the pictures")
    fit.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_STORE,
        metavar="STORE",
        help=f"store to publish in ({DEFAULT_STORE})",
    )
    fit.add_argument(
        "--backbone",
        default=defaults.backbone,
        metavar="NAME",
        help=f"pretrained feature extractor ({defaults.backbone})",
    )
    fit.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="local state dict instead of the published weights",
    )
    fit.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="table file,group of pictures that belong together (DIR/groups.csv)",
    )
    fit.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="take a picture's group from the first (bracket) found in its name",
    )
    fit.add_argument("--seed", type=int, default=defaults.seed)
    fit.add_argument(
        "--cache",
        type=Path,
        default=None,
        metavar="FOLDER",
        help=f"folder of the feature cache ({default_cache()})",
    )
    fit.add_argument("--strict", action="store_true", help="refuse unreadable pictures")
    fit.add_argument(
        "--if-missing", action="store_true", help="do nothing if STORE already has a current bundle"
    )
    fit.set_defaults(run=_fit)
    return parser


def _sample(arguments: argparse.Namespace) -> int:
    from training.sample import make_sample

    if arguments.if_missing and arguments.directory.is_dir():
        print(f"{arguments.directory} is there already.")
        return 0
    with tqdm(total=2 * arguments.per_class, unit="pic", disable=None) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        make_sample(
            arguments.directory,
            per_class=arguments.per_class,
            seed=arguments.seed,
            progress=lambda done, total: show(done),
        )
    print(arguments.directory)
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from models.bundle import current_version
    from models.errors import NoBundle

    if arguments.if_missing:
        try:
            print(arguments.out / current_version(arguments.out))
        except NoBundle:
            pass
        else:
            return 0
    from training.job import fit  # PyTorch and scikit-learn take a second to load

    config = dataclasses.replace(FitConfig(), backbone=arguments.backbone, seed=arguments.seed)
    with tqdm(unit="pic", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        bundle = fit(
            arguments.data,
            arguments.out,
            config,
            cache=arguments.cache or default_cache(),
            weights=arguments.weights,
            groups=arguments.groups,
            group_pattern=arguments.group_pattern,
            strict=arguments.strict,
            say=lambda line: bar.write(line, file=sys.stdout),
            progress=progress,
        )
    print(bundle.path)
    return 0


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
