"""Command `facemask-client URL IMAGES...`: print answers, or write them as CSV or JSON lines."""

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

from facemask_client.answers import Answer, ClientError
from facemask_client.batches import find_pictures
from facemask_client.clients import Client

_ALL_ANSWERED, _SOME_FAILED, _NOTHING_SENT, _NO_SERVICE = 0, 1, 2, 3
_COLUMNS = ("file", "decision", "label", "score", "familiar", "model", "error")
_CLASSIFICATION = ("decision", "label", "score", "familiar")
_BOX = ("left", "top", "width", "height")
_NO_FACE = "No face was found."

_Writer = Callable[[Answer], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify the given images and return the exit status."""
    options = _parser().parse_args(arguments)
    pictures = list(find_pictures(options.pictures))
    if not pictures:
        print("error: there are no pictures in what was named.", file=sys.stderr)
        return _NOTHING_SENT
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
        return _NOTHING_SENT
    if failed:
        print(f"{failed} of {len(pictures)} pictures have no answer.", file=sys.stderr)
    return _SOME_FAILED if failed else _ALL_ANSWERED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facemask-client",
        description="Classify images with a running service.",
        epilog="Exit status: 0 all answered, 1 some have no answer, 2 nothing could be sent, "
        "3 the service does not answer, stays busy, or refuses the key.",
    )
    parser.add_argument("url", help="base URL of the service, such as http://127.0.0.1:8000")
    parser.add_argument("pictures", nargs="+", type=Path, help="image files, and folders of them")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the answers as a table")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all fields, one JSON line per image"
    )
    parser.add_argument(
        "--faces", action="store_true", help="detect faces first, and classify each of them"
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("FACEMASK_KEY"),
        help="API key of the service; better set in the variable FACEMASK_KEY",
    )
    return parser


def _writers(
    stack: ExitStack, csv_path: Path | None, json_path: Path | None, faces: bool
) -> list[_Writer]:
    """Open the given files and return one writer per file, or one for the terminal."""
    writers: list[_Writer] = []
    if csv_path is not None:
        table = csv.writer(stack.enter_context(csv_path.open("w", encoding="utf-8", newline="")))
        columns = _COLUMNS + _BOX if faces else _COLUMNS
        table.writerow(columns)
        writers.append(
            lambda answer: table.writerows(
                [_cell(row, name) for name in columns] for row in _rows(answer)
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


def _rows(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the table rows of one image: one row, or one per face."""
    row = {name: getattr(answer, name) for name in _COLUMNS}
    for face in answer.faces or ():
        yield row | {name: getattr(face, name) for name in (*_CLASSIFICATION, *_BOX)}
    if answer.faces is None:
        yield row
    elif not answer.faces:
        yield row | {"error": _NO_FACE}


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    text = "" if value is None else str(value)
    # A spreadsheet would run text with such a beginning as a formula (CSV injection).
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _print(answer: Answer) -> None:
    for row in _rows(answer):
        result = row["error"] if row["score"] is None else f"{row['decision']}\t{row['score']:.4f}"
        box = [str(row[side]) for side in _BOX if side in row]
        warning = ["unfamiliar"] if row["familiar"] is False else []
        print("\t".join([str(answer.file), result, *box, *warning]))


def _show_progress(done: int, total: int) -> None:
    """Overwrite one line of the terminal with the progress."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
