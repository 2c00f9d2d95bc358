"""The store's command line: `python -m models --help`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.bundle import signing, store
from models.bundle.manifest import Manifest
from models.bundle.store import DEFAULT_STORE
from models.errors import FacemaskError, NoBundle

_REFUSED: Final = 1
_CANNOT_WRITE: Final = 6  # as of the training job


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return _REFUSED
    except OSError as error:
        print(f"error: {arguments.store} cannot be changed ({error.strerror}).", file=sys.stderr)
        return _CANNOT_WRITE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Look after a store of bundles. Ends with status 0, with 1 if what was asked "
        "is refused, with 2 for a wrong command line, with 6 if the store cannot be written to.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--store",
        type=Path,
        default=Path(os.environ.get("FACEMASK_STORE", DEFAULT_STORE)),
        metavar="DIR",
        help=f"the store (FACEMASK_STORE, or {DEFAULT_STORE})",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", parents=[common], help="the versions, oldest first")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", parents=[common], help="what a version is")
    show.add_argument("version", nargs="?", help="the current one if none is given")
    show.set_defaults(run=_show)

    promote = commands.add_parser("promote", parents=[common], help="have a version served")
    promote.add_argument("version")
    promote.set_defaults(run=_promote)

    rollback = commands.add_parser(
        "rollback", parents=[common], help="have the version served that was served before"
    )
    rollback.set_defaults(run=_rollback)

    verify = commands.add_parser(
        "verify", parents=[common], help="open a version as the service would"
    )
    verify.add_argument("version", nargs="?", help="the current one if none is given")
    verify.add_argument(
        "--trusted-key",
        action="append",
        default=[],
        metavar="KEY",
        help="public key or its PEM file; one of those given must have signed it "
        "(FACEMASK_TRUSTED_KEYS)",
    )
    verify.set_defaults(run=_verify)

    prune = commands.add_parser(
        "prune",
        parents=[common],
        help="remove old versions, but never the current one nor what a rollback turns to",
    )
    prune.add_argument("--keep", type=_count, required=True, metavar="N", help="newest to keep")
    prune.set_defaults(run=_prune)

    keygen = commands.add_parser("keygen", help="make a key pair to sign bundles with")
    keygen.add_argument("file", type=Path, help="private key to make; the public one is FILE.pub")
    keygen.set_defaults(run=_keygen, store=Path())
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of versions")
    return int(text)


def _list(arguments: argparse.Namespace) -> int:
    present = store.versions(arguments.store)
    if not present:
        raise NoBundle(f"{arguments.store} holds no version.")
    try:
        current = store.current_version(arguments.store)
    except NoBundle:
        current = ""
    before = store.rollback_version(arguments.store)
    rows = [("VERSION", "", "ACCURACY", "PICTURES", "BACKBONE", "SIGNED", "LABELS")]
    for version in present:
        mark = {current: "current", before: "rollback"}.get(version, "")
        rows.append((version, mark, *_row(arguments.store / version)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())
    return 0


def _row(path: Path) -> tuple[str, str, str, str, str]:
    try:
        manifest = store.read_manifest(path)
    except FacemaskError as error:
        return "", "", "", "", f"unusable: {error}"
    return (
        _accuracy(manifest),
        str(sum(manifest.dataset.pictures.values())),
        manifest.backbone.name,
        "yes" if (path / signing.SIGNATURE).is_file() else "no",
        ", ".join(manifest.labels),
    )


def _accuracy(manifest: Manifest) -> str:
    figure = manifest.metrics.get("cross_validation", {}).get("balanced_accuracy")
    return "" if figure is None else f"{figure:.1%}"


def _show(arguments: argparse.Namespace) -> int:
    path = _path(arguments)
    manifest = store.read_manifest(path)
    dataset, decision = manifest.dataset, manifest.decision
    pictures = ", ".join(f"{label} {count}" for label, count in dataset.pictures.items())
    rows = {
        "version": manifest.version,
        "created": manifest.created_at.isoformat(),
        "labels": ", ".join(manifest.labels),
        "accuracy": f"{_accuracy(manifest)} balanced, cross-validated",
        "uncertain below": f"{decision.threshold:.1%} (answers {decision.coverage:.1%})",
        "pictures": f"{pictures} in {dataset.groups} groups",
        "backbone": f"{manifest.backbone.name} ({manifest.backbone.licence})",
        "input": f"{manifest.input_px} x {manifest.input_px} px",
        "signed": "yes" if (path / signing.SIGNATURE).is_file() else "no",
        "files": ", ".join(f"{name} {facts.bytes:,} B" for name, facts in manifest.files.items()),
    }
    for name, text in rows.items():
        print(f"{name:<16}{text}")
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    store.promote(arguments.store, arguments.version)
    print(f"{arguments.version} is to be served.")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    print(f"{store.rollback(arguments.store)} is to be served again.")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from models.bundle.load import open_bundle  # PyTorch takes a second to load

    given = ",".join(arguments.trusted_key) or os.environ.get("FACEMASK_TRUSTED_KEYS", "")
    keys = signing.load_public_keys(given)
    bundle = open_bundle(_path(arguments), trusted=keys)
    vouched = "its signature by a trusted key, " if keys else ""
    print(
        f"{bundle.manifest.version} is sound: {vouched}{len(bundle.manifest.files)} checksums, "
        f"{len(bundle.manifest.golden.pictures)} golden pictures."
    )
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    removed = store.prune(arguments.store, keep=arguments.keep)
    print("\n".join(f"{version} is removed." for version in removed) or "Nothing to remove.")
    return 0


def _keygen(arguments: argparse.Namespace) -> int:
    key = signing.generate_keys(arguments.file)
    print(f"private key, for the training job only: {arguments.file}")
    print(f"public key, for FACEMASK_TRUSTED_KEYS: {signing.to_base64(key)}")
    return 0


def _path(arguments: argparse.Namespace) -> Path:
    version = arguments.version or store.current_version(arguments.store)
    path: Path = arguments.store / version
    if version not in store.versions(arguments.store):
        raise NoBundle(f"{arguments.store} has no version {version}.")
    return path


if __name__ == "__main__":
    sys.exit(main())
