"""Command line of the store: `python -m models --help`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import models
from models.bundle import signing, store, transfer
from models.bundle.files import read_manifest
from models.bundle.manifest import Manifest
from models.bundle.store import DEFAULT_STORE, default_store
from models.environment import read_variable, warn_of_injected, warn_of_misspelt
from models.errors import FacemaskError, NoBundle, StoreNotSynced, reason_of
from models.terminal import run_command, write_error, write_line
from models.text import clean, percent

_EXIT_REFUSED: Final = 1
_EXIT_UNWRITABLE: Final = 6  # as for the training job
_VARIABLES: Final = ("FACEMASK_STORE", "FACEMASK_TRUSTED_KEYS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="warning: %(message)s")
    warn_of_injected(_VARIABLES)
    warn_of_misspelt(_VARIABLES)
    try:
        lines: list[str] = arguments.run(arguments)
    except StoreNotSynced as error:
        write_error(clean(f"error: {error}"))
        return _EXIT_UNWRITABLE
    except FacemaskError as error:
        write_error(clean(f"error: {error}"))
        return _EXIT_REFUSED
    except OSError as error:
        reason = reason_of(error)
        write_error(clean(f"error: {arguments.store} cannot be changed ({reason})."))
        return _EXIT_UNWRITABLE
    for line in lines:
        write_line(clean(line))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Manage a store of bundles. Exit status: 0 on success, 1 if the command is "
        "refused, 2 for a wrong command line, 6 if the store or the output cannot be written to.",
    )
    parser.add_argument("--version", action="version", version=f"facemask {models.__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--store",
        type=_folder,
        default=default_store(),
        metavar="DIR",
        help=f"the store (FACEMASK_STORE, or {DEFAULT_STORE} of the checkout)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", parents=[common], help="list all versions, oldest first")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", parents=[common], help="describe a version")
    show.add_argument("version", nargs="?", help="default: the current version")
    show.set_defaults(run=_show)

    _add_store_commands(commands, common)
    _add_transfer_commands(commands, common)
    return parser


def _add_store_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
) -> None:
    promote = commands.add_parser("promote", parents=[common], help="make a version current")
    promote.add_argument("version", help="its name, or a beginning that no other version has")
    promote.set_defaults(run=_promote)

    compare = commands.add_parser(
        "compare",
        parents=[common],
        help="classify a folder of labelled pictures with two versions, and compare the answers",
    )
    compare.add_argument("old", metavar="A", help="version to compare with")
    compare.add_argument("new", metavar="B", help="version that may replace it")
    compare.add_argument(
        "--on", type=_folder, required=True, metavar="DIR", help="one folder of pictures per class"
    )
    compare.set_defaults(run=_compare)

    rollback = commands.add_parser(
        "rollback", parents=[common], help="make the version current that was served before"
    )
    rollback.set_defaults(run=_rollback)

    verify = commands.add_parser(
        "verify", parents=[common], help="open and check a version as the service would"
    )
    verify.add_argument("version", nargs="?", help="default: the current version")
    verify.add_argument(
        "--trusted-key",
        action="append",
        default=[],
        metavar="KEY",
        help="public key or its PEM file, may be repeated; one of them must have signed the "
        "version (FACEMASK_TRUSTED_KEYS)",
    )
    verify.set_defaults(run=_verify)

    prune = commands.add_parser(
        "prune",
        parents=[common],
        help="remove old versions, but never the current one nor the target of a rollback",
    )
    prune.add_argument(
        "--keep", type=_whole_number, required=True, metavar="N", help="newest versions to keep"
    )
    prune.set_defaults(run=_prune)


def _add_transfer_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    common: argparse.ArgumentParser,
) -> None:
    pack = commands.add_parser(
        "pack", parents=[common], help="write a version to one file, and print its checksum"
    )
    pack.add_argument("file", type=Path, help="tar file to write")
    pack.add_argument("version", nargs="?", help="default: the current version")
    pack.set_defaults(run=_pack)

    fetch = commands.add_parser(
        "fetch", parents=[common], help="add a packed version to the store, and make it current"
    )
    fetch.add_argument("address", help="URL (https or http) or path of the packed file")
    fetch.add_argument("--sha256", required=True, metavar="HEX", help="checksum that it must have")
    fetch.add_argument("--no-promote", action="store_true", help="do not make it current")
    fetch.set_defaults(run=_fetch)

    keygen = commands.add_parser("keygen", help="make a key pair to sign bundles with")
    keygen.add_argument(
        "file", type=Path, help="private key to write; the public key is written to FILE.pub"
    )
    keygen.set_defaults(run=_keygen, store=Path())


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder's name is empty")
    return Path(text)


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of versions")
    return int(text)


def _list(arguments: argparse.Namespace) -> list[str]:
    versions = store.versions(arguments.store)
    if not versions:
        raise NoBundle(
            f"{arguments.store} holds no version yet: `python -m training fit` publishes one."
        )
    try:
        current = store.current_version(arguments.store)
    except NoBundle:
        current = ""
    marks = {current: "current", store.rollback_version(arguments.store): "rollback"}
    rows: list[tuple[str, ...]] = [
        ("VERSION", "", "ACCURACY", "THRESHOLD", "ANSWERS", "PICTURES", "BACKBONE", "SIGNED",
         "LABELS")
    ]  # fmt: skip
    rows += [(name, marks.get(name, ""), *_row(arguments.store / name)) for name in versions]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(path: Path) -> tuple[str, ...]:
    try:
        manifest = read_manifest(path)
    except FacemaskError as error:
        return *[""] * 6, f"unusable: {error}"
    return (
        _accuracy(manifest),
        percent(manifest.decision.threshold),
        percent(manifest.decision.coverage),
        str(sum(manifest.dataset.pictures.values())),
        manifest.backbone.name,
        _signed(path),
        ", ".join(manifest.labels),
    )


def _accuracy(manifest: Manifest) -> str:
    accuracy = manifest.scores.balanced_accuracy
    return "" if accuracy is None else percent(accuracy)


def _signed(path: Path) -> str:
    return "yes" if (path / signing.SIGNATURE).is_file() else "no"


def _show(arguments: argparse.Namespace) -> list[str]:
    path = _path(arguments)
    manifest = read_manifest(path)
    dataset, decision = manifest.dataset, manifest.decision
    pictures = ", ".join(f"{label} {count}" for label, count in dataset.pictures.items())
    rows = {
        "version": manifest.version,
        "created": manifest.created_at.isoformat(),
        "labels": ", ".join(manifest.labels),
        "accuracy": f"{_accuracy(manifest)} balanced, cross-validated",
        "uncertain below": f"{percent(decision.threshold)} (answers {percent(decision.coverage)})",
        "pictures": f"{pictures} in {dataset.groups} groups",
        "backbone": f"{manifest.backbone.name} ({manifest.backbone.licence})",
        "input": f"{manifest.input_px} x {manifest.input_px} px, decoded by {manifest.decoder}",
        "signed": _signed(path),
        "files": ", ".join(f"{name} {facts.bytes:,} B" for name, facts in manifest.files.items()),
    }
    return [f"{name:<16}{text}" for name, text in rows.items()]


def _promote(arguments: argparse.Namespace) -> list[str]:
    version = store.find_version(arguments.store, arguments.version)
    store.promote(arguments.store, version)
    return [f"{version} is current."]


def _compare(arguments: argparse.Namespace) -> list[str]:
    from models.bundle.compare import compare_bundles  # PyTorch takes a second to import
    from models.bundle.load import open_bundle

    names = [store.find_version(arguments.store, text) for text in (arguments.old, arguments.new)]
    trusted = signing.load_public_keys(read_variable("FACEMASK_TRUSTED_KEYS") or "")
    old, new = (open_bundle(arguments.store / name, trusted=trusted) for name in names)
    found = compare_bundles(old, new, arguments.on, progress=_report_progress)
    lines = [
        f"{letter}  {name}  {percent(accuracy)} balanced accuracy, answers {percent(of.answered)}"
        for letter, name, accuracy, of in (
            ("A", names[0], found.test.old, found.old),
            ("B", names[1], found.test.new, found.new),
        )
    ]
    lines.append(found.test.sentence)
    for title, fixed in (("fixed by B", True), ("broken by B", False)):
        rows = found.changed(fixed=fixed)
        lines.append(f"{title}: {len(rows)}")
        lines += [f"  {file}: {before} -> {after}" for file, _, before, after in rows]
    if found.skipped:
        lines.append(f"not compared: {len(found.skipped)}")
        lines += [f"  {file}: {reason}" for file, reason in found.skipped]
    return lines


def _report_progress(done: int, total: int) -> None:
    """Show the progress on a terminal, in one line."""
    if sys.stderr is not None and sys.stderr.isatty():
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{done:,} of {total:,} pictures{end}")
        sys.stderr.flush()


def _rollback(arguments: argparse.Namespace) -> list[str]:
    return [f"{store.rollback(arguments.store)} is current again."]


def _verify(arguments: argparse.Namespace) -> list[str]:
    from models.bundle.load import open_bundle  # PyTorch takes a second to import

    keys = ",".join(arguments.trusted_key) or read_variable("FACEMASK_TRUSTED_KEYS") or ""
    trusted = signing.load_public_keys(keys)
    manifest = open_bundle(_path(arguments), trusted=trusted).manifest
    signature = "its signature by a trusted key, " if trusted else ""
    return [
        f"{manifest.version} is sound: {signature}{len(manifest.files)} checksums, "
        f"{len(manifest.golden.pictures)} golden pictures."
    ]


def _prune(arguments: argparse.Namespace) -> list[str]:
    removed = store.prune(arguments.store, keep=arguments.keep)
    return [f"{version} is removed." for version in removed] or ["Nothing to remove."]


def _pack(arguments: argparse.Namespace) -> list[str]:
    version = _path(arguments).name
    checksum = transfer.pack(arguments.store, version, arguments.file)
    return [f"{checksum}  {arguments.file}"]  # as sha256sum prints it


def _fetch(arguments: argparse.Namespace) -> list[str]:
    promote = not arguments.no_promote
    version = transfer.fetch(arguments.address, arguments.sha256, arguments.store, promote=promote)
    return [f"{version} is {'current' if promote else 'in the store'}."]


def _keygen(arguments: argparse.Namespace) -> list[str]:
    key = signing.generate_keys(arguments.file)
    return [
        f"private key, for the training job only: {arguments.file}",
        f"public key, for FACEMASK_TRUSTED_KEYS: {signing.to_base64(key)}",
    ]


def _path(arguments: argparse.Namespace) -> Path:
    version = arguments.version or store.current_version(arguments.store)
    path: Path = arguments.store / store.find_version(arguments.store, version)
    return path


def run() -> None:
    """Run the command line and exit (console script)."""
    sys.exit(run_command(main))


if __name__ == "__main__":
    run()
