"""`python -m service.client URL PICTURES...`: a line a picture, or a CSV or JSON-lines file."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.client import Answer, Client, ClientError, find_pictures

_ALL_ANSWERED, _SOME_FAILED, _NOTHING_ASKED, _NO_SERVICE = 0, 1, 2, 3
_COLUMNS = ("file", "decision", "label", "score", "familiar", "model", "error")
_ANSWER = ("decision", "label", "score", "familiar")
_SIDES = ("left", "top", "width", "height")
_NO_FACE = "No face was found."

_Writer = Callable[[Answer], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify the pictures that are named; returns the exit status."""
    options = _parser().parse_args(arguments)
    pictures = list(find_pictures(options.pictures))
    if not pictures:
        print("error: there are no pictures in what was named.", file=sys.stderr)
        return _NOTHING_ASKED
    failed = 0
    try:
        with ExitStack() as stack:
            writers = _writers(stack, options.csv, options.json, options.faces)
            client = stack.enter_context(Client(options.url, key=options.key, faces=options.faces))
            for done, answer in enumerate(client.classify(pictures), start=1):
                failed += answer.error is not None
                for write in writers:
                    write(answer)
                _show_progress(done, len(pictures))
    except ClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return _NO_SERVICE
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}.", file=sys.stderr)
        return _NOTHING_ASKED
    if failed:
        print(f"{failed} of {len(pictures)} pictures have no answer.", file=sys.stderr)
    return _SOME_FAILED if failed else _ALL_ANSWERED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.client",
        description="Classify pictures with a running service.",
        epilog="Exit status: 0 all answered, 1 some have no answer, 2 nothing could be asked, "
        "3 the service does not answer or wants another key.",
    )
    parser.add_argument("url", help="of the service, as in http://127.0.0.1:8000")
    parser.add_argument("pictures", nargs="+", type=Path, help="files, and folders of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the answers as a table")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all that is known, a JSON line a picture"
    )
    parser.add_argument(
        "--faces", action="store_true", help="find the faces first, and answer for each of them"
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("FACEMASK_KEY"),
        help="of the service, where it wants one; better in the variable FACEMASK_KEY",
    )
    return parser


def _writers(
    stack: ExitStack, csv_path: Path | None, json_path: Path | None, faces: bool
) -> list[_Writer]:
    writers: list[_Writer] = []
    if csv_path is not None:
        table = csv.writer(stack.enter_context(csv_path.open("w", encoding="utf-8", newline="")))
        columns = _COLUMNS + _SIDES if faces else _COLUMNS
        table.writerow(columns)
        writers.append(
            lambda answer: table.writerows(
                [_cell(line, name) for name in columns] for line in _lines(answer)
            )
        )
    if json_path is not None:
        lines = stack.enter_context(json_path.open("w", encoding="utf-8"))
        writers.append(
            lambda answer: print(
                json.dumps(asdict(answer) | {"file": str(answer.file)}, ensure_ascii=False),
                file=lines,
            )
        )
    return writers or [_print]


def _lines(answer: Answer) -> Iterator[dict[str, Any]]:
    """What a table says of a picture: one line, or one a face."""
    own = {name: getattr(answer, name) for name in _COLUMNS}
    for face in answer.faces or ():
        yield own | {name: getattr(face, name) for name in (*_ANSWER, *_SIDES)}
    if answer.faces is None:
        yield own
    elif not answer.faces:
        yield own | {"error": _NO_FACE}


def _cell(line: Mapping[str, Any], name: str) -> str:
    value = line.get(name)
    # A spreadsheet would run a text that begins so as a formula.
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _print(answer: Answer) -> None:
    for line in _lines(answer):
        said = (
            line["error"] if line["score"] is None else f"{line['decision']}\t{line['score']:.4f}"
        )
        where = [str(line[side]) for side in _SIDES if side in line]
        doubt = ["unfamiliar"] if line["familiar"] is False else []
        print("\t".join([str(answer.file), said, *where, *doubt]))


def _show_progress(done: int, total: int) -> None:
    """One line that is written over, where somebody is looking."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
