"""A store is a folder of bundles; what can be said and done without loading a model.

    STORE/CURRENT                           the version to serve, one line
    STORE/HISTORY                           the versions served so far, the present one last
    STORE/20261122T204207Z-1f0c9a77/        a bundle: its name is its version
        manifest.json                       what it is (models.bundle.manifest)
        manifest.sig                        who vouches for that, if anybody (models.bundle.signing)
        model.pt                            TorchScript
        report.html, summary.json, ...      what the job has to say of it

Each change is one rename, and the history is written before the pointer, so that neither a
reader nor a kill at any moment can meet half of one. Writers take turns; readers need no lock.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.bundle import fsync
from models.bundle.manifest import VERSION_PATTERN, FileFacts, Manifest
from models.errors import BundleError, BundleIncomplete, NoBundle, SchemaUnsupported

DEFAULT_STORE: Final = Path("models/artifacts")
CURRENT: Final = "CURRENT"
HISTORY: Final = "HISTORY"
MANIFEST: Final = "manifest.json"
MODEL: Final = "model.pt"
PARTIAL: Final = ".publishing-"
_PRUNED: Final = ".pruned-"
_LOCK: Final = ".lock"
_REMEMBERED: Final = 1000  # entries of the history that are kept
_MAX_SMALL_BYTES: Final = 64 * 2**20  # of a manifest, a signature or a list: far above any


def current_version(store: Path) -> str:
    """The version that the store says to serve.

    Raises:
        NoBundle: The store does not exist or names none.
    """
    try:
        version = (store / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise NoBundle(f"{store} holds no model yet: run `python -m training fit`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise NoBundle(f"{store / CURRENT} cannot be read ({error}).") from error
    # A crash of the machine can leave a file of zero bytes, which are no name either.
    named = version.isprintable() and Path(version).name == version
    if not version or not named or version.startswith("."):
        raise NoBundle(f"{store / CURRENT} does not name a version.")
    return version


def versions(store: Path) -> list[str]:
    """The versions in a store, oldest first."""
    if not store.is_dir():
        return []
    names = (path.parent.name for path in store.glob(f"[!.]*/{MANIFEST}"))
    return sorted(name for name in names if re.fullmatch(VERSION_PATTERN, name))


def served_before(store: Path) -> str | None:
    """The version that a rollback turns to: served before the current one, and still there."""
    present = versions(store)
    try:
        current = current_version(store)
    except NoBundle:
        current = ""
    past = _history(store)
    if current in past:
        past = past[: len(past) - 1 - past[::-1].index(current)]
    known = [version for version in past if version != current and version in present]
    return known[-1] if known else None


def read_manifest(path: Path) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        BundleIncomplete: There is none, or it cannot be read.
        SchemaUnsupported: It is of another schema version, or breaks its schema.
    """
    return parse_manifest(path, read_small(path / MANIFEST))


def parse_manifest(path: Path, text: bytes) -> Manifest:
    """Check the manifest of the bundle in a folder, given its bytes.

    Raises:
        BundleIncomplete: It is another bundle's.
        SchemaUnsupported: It is of another schema version, or breaks its schema.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the file"
        raise SchemaUnsupported(f"{path / MANIFEST}: {where}: {first['msg']}.") from error
    if manifest.version != path.name and not path.name.startswith(PARTIAL):
        raise BundleIncomplete(f"{path} holds the bundle {manifest.version}.")
    if MODEL not in manifest.files:
        raise SchemaUnsupported(f"{path / MANIFEST} lists no {MODEL}.")
    return manifest


def read_files(path: Path, manifest: Manifest) -> dict[str, bytes]:
    """The contents of a bundle's files, each as it was published.

    Raises:
        BundleIncomplete: A file is missing, is no plain file, or its checksum differs.
    """
    return {name: _verified(path / name, facts) for name, facts in manifest.files.items()}


def read_small(path: Path) -> bytes:
    """Read a file of a bundle that no checksum speaks of.

    Raises:
        BundleIncomplete: It is missing, no plain file, or absurdly large.
    """
    data = _read(path, _MAX_SMALL_BYTES)
    if len(data) > _MAX_SMALL_BYTES:
        raise BundleIncomplete(f"{path} is too large.")
    return data


def point(store: Path, version: str) -> None:
    """Make a version of the store the current one, in one step; the caller holds the lock.

    Raises:
        BundleError: The store has no such version.
        OSError: The store cannot be written to.
    """
    _turn(store, version, [*_history(store), version])


def promote(store: Path, version: str) -> None:
    """Have a version served whose files are as they were published.

    Raises:
        BundleError: The store has no such version, or its files have changed.
        OSError: The store cannot be written to.
    """
    with lock(store):
        _check_version(store, version)
        read_files(store / version, read_manifest(store / version))
        point(store, version)


def rollback(store: Path) -> str:
    """Have the version served that was served before; returns it.

    Doing so again goes further back, as the history then ends with that version.

    Raises:
        BundleError: None was served before, or its files have changed.
        OSError: The store cannot be written to.
    """
    with lock(store):
        target = served_before(store)
        if target is None:
            raise BundleError(f"{store} holds no version that was served before the current one.")
        read_files(store / target, read_manifest(store / target))
        past = _history(store)
        kept = past[: len(past) - past[::-1].index(target)] if target in past else [target]
        _turn(store, target, kept)
    return target


def prune(store: Path, *, keep: int) -> list[str]:
    """Remove all but the newest versions; returns those removed.

    The current version and the one that a rollback turns to stay, whatever their age.

    Args:
        store: The store's folder.
        keep: How many of the newest to keep.

    Raises:
        BundleError: The store names no current version, so that none is known to be unused.
        OSError: The store cannot be written to.
    """
    with lock(store):
        present = versions(store)
        stay = {
            current_version(store),
            served_before(store),
            *present[max(0, len(present) - keep) :],
        }
        removed = [version for version in present if version not in stay]
        for version in removed:  # hidden in one step: nobody meets half of it
            (store / version).rename(store / f"{_PRUNED}{version}-{secrets.token_hex(4)}")
        fsync.sync_folder(store)
        sweep(store)
    return removed


def sweep(store: Path) -> None:
    """Remove what a writer that was killed has left; the caller holds the lock."""
    for pattern in (f"{PARTIAL}*", f"{_PRUNED}*"):
        for stale in store.glob(pattern):
            shutil.rmtree(stale, ignore_errors=True)
    for pattern in (f".{CURRENT}-*", f".{HISTORY}-*"):
        for stale in store.glob(pattern):
            stale.unlink(missing_ok=True)


@contextmanager
def lock(store: Path) -> Iterator[None]:
    """Let one writer at a time change the store.

    Raises:
        NoBundle: There is no such store.
        OSError: The store cannot be written to.
    """
    if not store.is_dir():
        raise NoBundle(f"{store} is no store: there is no such folder.")
    with open(store / _LOCK, "a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _turn(store: Path, version: str, history: Sequence[str]) -> None:
    _check_version(store, version)
    # A kill between the two leaves a history that is one version ahead of the pointer, or
    # shorter; `served_before` goes by where the current version stands in it.
    _replace(store, HISTORY, "".join(f"{line}\n" for line in history[-_REMEMBERED:]))
    _replace(store, CURRENT, f"{version}\n")


def _check_version(store: Path, version: str) -> None:
    if not re.fullmatch(VERSION_PATTERN, version) or not (store / version / MANIFEST).is_file():
        raise BundleError(f"{store} has no version {version}.")


def _replace(store: Path, name: str, text: str) -> None:
    """Write a file of the store in one step."""
    partial = store / f".{name}-{secrets.token_hex(4)}"
    try:
        fsync.write(partial, text.encode())
        partial.replace(store / name)
    finally:
        partial.unlink(missing_ok=True)
    fsync.sync_folder(store)


def _history(store: Path) -> list[str]:
    """The versions served so far, oldest first; nothing that could name another file.

    A store without a history was filled before one was kept, each version served in its turn.
    """
    try:
        lines = (store / HISTORY).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        try:
            current = current_version(store)
        except NoBundle:
            return []
        return [version for version in versions(store) if version <= current]
    return [line for line in lines if re.fullmatch(VERSION_PATTERN, line)]


def _verified(path: Path, facts: FileFacts) -> bytes:
    data = _read(path, facts.bytes)
    if len(data) != facts.bytes or hashlib.sha256(data).hexdigest() != facts.sha256:
        raise BundleIncomplete(f"{path} is not the file that was published: its checksum differs.")
    return data


def _read(path: Path, expected: int) -> bytes:
    """Read a plain file, no more than one byte over what is expected.

    A link could lead out of the bundle, and a pipe or a device would never end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise BundleIncomplete(f"{path} is no plain file.")
            return file.read(expected + 1)
    except OSError as error:
        raise BundleIncomplete(f"{path} cannot be read ({error.strerror}).") from error
