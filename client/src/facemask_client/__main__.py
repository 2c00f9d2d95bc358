"""Command `facemask-client URL PICTURES...`: print answers, or write them as CSV or JSON lines."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from facemask_client import __version__
from facemask_client.answers import ClientError
from facemask_client.batches import UNLISTED_CODE
from facemask_client.clients import Client
from facemask_client.output import OutputError, open_writers, print_message, release_stdout
from facemask_client.pictures import find_pictures

_ALL_ANSWERED, _SOME_FAILED, _NOTHING_SENT, _NO_SERVICE = 0, 1, 2, 3
# As the shell reports a process that SIGINT or SIGPIPE ended: 128 and the signal's number.
_INTERRUPTED, _NO_READER = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify the given pictures and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except ClientError as error:
        print_message(f"error: {error}")
        return _NO_SERVICE
    except OutputError as error:
        release_stdout()
        if error.has_no_reader:
            return _NO_READER
        print_message(f"error: {error}")
        return _NOTHING_SENT
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    skipped: list[Path] = []
    pictures = list(find_pictures(options.pictures, on_skip=skipped.append))
    if skipped:
        print_message(
            f"Skipped {len(skipped)} files or folders that are hidden or not named as pictures, "
            f"the first is {skipped[0]}."
        )
    if not pictures:
        print_message("error: there are no pictures in what was named.")
        return _NOTHING_SENT
    failed, decisions = 0, Counter[str]()
    with ExitStack() as stack:
        client = stack.enter_context(
            Client(
                options.url,
                key=options.key,
                faces=options.faces,
                threshold=options.threshold,
                whole=options.whole,
            )
        )
        writers = open_writers(stack, options.csv, options.json)
        for done, answer in enumerate(client.classify(pictures), start=1):
            failed += answer.error is not None
            if answer.error is None:
                decisions.update(face.decision for face in answer.faces or ())
                decisions.update([answer.decision] if answer.decision else ())
            if answer.code == UNLISTED_CODE:
                print_message(f"error: {answer.file}: {answer.error}")
            for write in writers:
                write(answer)
            _show_progress(done, len(pictures))
    if decisions and (options.csv or options.json):
        found = ", ".join(f"{count:,} {decision}" for decision, count in decisions.most_common())
        of = "faces in " if options.faces else ""
        print_message(f"{of}{len(pictures):,} pictures: {found}.")
    if failed:
        print_message(f"{failed} of {len(pictures)} pictures have no answer.")
    return _SOME_FAILED if failed else _ALL_ANSWERED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facemask-client",
        description="Classify pictures with a running service.",
        epilog="Exit status: 0 all answered, 1 some have no answer, 2 nothing could be sent or "
        "written, 3 the service cannot be reached, stays busy, or refuses the key.",
    )
    parser.add_argument("--version", action="version", version=f"facemask-client {__version__}")
    parser.add_argument("url", help="base URL of the service, such as http://127.0.0.1:8000")
    parser.add_argument("pictures", nargs="+", type=Path, help="picture files, and folders of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the answers as a table")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all fields, one JSON line per picture"
    )
    parser.add_argument(
        "--faces", action="store_true", help="detect faces first, and classify each of them"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="classify whole pictures, also where the main face could be framed as in training",
    )
    parser.add_argument(
        "--threshold",
        type=_share,
        metavar="SHARE",
        help="decide 'uncertain' below this score, 0 to 1; the service's threshold by default",
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("FACEMASK_KEY"),
        help="API key of the service; better set in the variable FACEMASK_KEY",
    )
    return parser


def _share(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def _show_progress(done: int, total: int) -> None:
    """Overwrite one line of the terminal with the progress."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
