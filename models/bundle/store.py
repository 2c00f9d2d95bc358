"""Store of bundles: versions, current version, history; promotion, rollback, removal.

    STORE/CURRENT                           the version to serve, one line
    STORE/HISTORY                           the versions served so far, the current one last
    STORE/20261122T204207Z-1f0c9a77/        a bundle, named by its version
        manifest.json                       facts about the model (models.bundle.manifest)
        manifest.sig                        its signature, if signed (models.bundle.signing)
        model.pt                            TorchScript
        out_of_fold.csv                     answers to the training pictures
        test_answers.csv                    answers to the pictures of test sets, if there are any
        report.html, summary.json, ...      documents of the training job

Each change is one rename, and the history is written before the pointer: a reader never sees half
a change, and a kill at any moment leaves none. Writers hold a lock; readers need none.
"""

import errno
import fcntl
import logging
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.bundle import fsync
from models.bundle.files import (
    MANIFEST,
    PARTIAL,
    read_files,
    read_manifest,
    read_regular_file,
)
from models.bundle.manifest import VERSION_PATTERN
from models.environment import read_variable
from models.errors import (
    BundleError,
    NoBundle,
    PointerUnreadable,
    StoreNotSynced,
    reason_of,
)

log = logging.getLogger("facemask")

DEFAULT_STORE: Final = Path("models/artifacts")
"""Store of a checkout, below its root."""
CURRENT: Final = "CURRENT"
HISTORY: Final = "HISTORY"
_PRUNED: Final = ".pruned-"
_LOCK: Final = ".lock"
_MAX_HISTORY_LINES: Final = 1000
_MAX_POINTER_BYTES: Final = 4096  # CURRENT; a version has 25
_MAX_HISTORY_BYTES: Final = 2**20
# NFS without its lock daemon, SMB and FUSE without locks.
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def default_store() -> Path:
    """Return FACEMASK_STORE, or the store of the checkout."""
    return Path(read_variable("FACEMASK_STORE") or checkout_store())


def checkout_store() -> Path:
    """Return the store of the checkout that this code runs from, whatever the working directory is.

    Code that is installed without a checkout has it in the working directory.
    """
    root = Path(__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        return DEFAULT_STORE
    try:
        is_here = Path.cwd() == root
    except FileNotFoundError:  # the working directory was removed
        is_here = False
    return DEFAULT_STORE if is_here else root / DEFAULT_STORE


def current_version(store: Path) -> str:
    """Return the version to serve.

    Raises:
        NoBundle: The store does not exist or names no version.
        PointerUnreadable: The file that names the version cannot be read.
    """
    pointer = store / CURRENT
    try:
        content = read_regular_file(pointer, _MAX_POINTER_BYTES, follow_link=True)
        version = content.decode("ascii").strip()
    except BundleError as error:
        if isinstance(error.__cause__, FileNotFoundError) and not pointer.is_symlink():
            raise NoBundle(f"{store} holds no model yet: run `python -m training fit`.") from error
        raise PointerUnreadable(str(error)) from error
    except UnicodeDecodeError as error:
        raise PointerUnreadable(f"{pointer} cannot be read ({error}).") from error
    # A crash of the machine can leave a file of NUL bytes, which are not printable.
    is_name = version.isprintable() and Path(version).name == version
    if not version or not is_name or version.startswith("."):
        raise NoBundle(f"{pointer} does not name a version.")
    return version


def versions(store: Path) -> list[str]:
    """Return the versions in a store, oldest first."""
    if not store.is_dir():
        return []
    names = (path.parent.name for path in store.glob(f"[!.]*/{MANIFEST}"))
    return sorted(name for name in names if re.fullmatch(VERSION_PATTERN, name))


def find_version(store: Path, text: str) -> str:
    """Return the version of a store that has this name, or whose name alone begins like this.

    Raises:
        NoBundle: There is none, or more than one.
    """
    known = versions(store)
    if text in known:
        return text
    found = [name for name in known if text and name.startswith(text)]
    if not found:
        raise NoBundle(f"{store} has no version {text}.")
    if len(found) > 1:
        raise NoBundle(f"{text} may be {' or '.join(found)}: give more of the name.")
    return found[0]


def rollback_version(store: Path) -> str | None:
    """Return the last version served before the current one, among those that still exist."""
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


def set_current(store: Path, version: str) -> None:
    """Make a version the current one, in one step; the caller holds the lock.

    Raises:
        BundleError: The store has no such version.
        StoreNotSynced: The version is current, but the disk does not confirm it.
        OSError: The store cannot be written to.
    """
    _write_pointer(store, version, [*_history(store), version])


def promote(store: Path, version: str) -> None:
    """Make a version the current one after checking its files.

    Raises:
        BundleError: The store has no such version, or its files have changed.
        OSError: The store cannot be written to.
    """
    with lock(store):
        _check_version(store, version)
        read_files(store / version, read_manifest(store / version))
        set_current(store, version)


def rollback(store: Path) -> str:
    """Make the previously served version current again; return it.

    A second rollback goes further back, since the history then ends with that version.

    Raises:
        BundleError: No version was served before, or its files have changed.
        OSError: The store cannot be written to.
    """
    with lock(store):
        target = rollback_version(store)
        if target is None:
            raise BundleError(
                f"{store} holds no version that was served before the current "
                "one: `python -m models promote VERSION` makes any version current."
            )
        read_files(store / target, read_manifest(store / target))
        past = _history(store)
        kept = past[: len(past) - past[::-1].index(target)] if target in past else [target]
        _write_pointer(store, target, kept)
    return target


def prune(store: Path, *, keep: int) -> list[str]:
    """Remove all but the newest versions; return those removed.

    The current version and the target of a rollback stay, regardless of their age.

    Args:
        store: The store's folder.
        keep: Number of newest versions to keep.

    Raises:
        BundleError: The store names no current version, so that any may be in use.
        OSError: The store cannot be written to.
    """
    with lock(store):
        present = versions(store)
        kept = {
            current_version(store),
            rollback_version(store),
            *present[max(0, len(present) - keep) :],
        }
        removed = [version for version in present if version not in kept]
        for version in removed:
            _hide(store, version)
        fsync.sync_folder(store)
        remove_leftovers(store)
    return removed


def _hide(store: Path, version: str) -> None:
    """Hide a version in one step: a reader never opens half of one that is being removed."""
    try:
        (store / version).rename(store / f"{_PRUNED}{version}-{secrets.token_hex(4)}")
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # overlayfs cannot rename a folder of an image's layer; without a manifest it is not a
        # version any more.
        (store / version / MANIFEST).unlink()
        shutil.rmtree(store / version, ignore_errors=True)


def remove_leftovers(store: Path) -> None:
    """Remove the temporary files of killed writers; the caller holds the lock."""
    for pattern in (f"{PARTIAL}*", f"{_PRUNED}*"):
        for stale in store.glob(pattern):
            shutil.rmtree(stale, ignore_errors=True)
    for pattern in (f".{CURRENT}-*", f".{HISTORY}-*"):
        for stale in store.glob(pattern):
            stale.unlink(missing_ok=True)


@contextmanager
def lock(store: Path) -> Iterator[None]:
    """Wait for the other writers, and hold the store's lock.

    Raises:
        NoBundle: The store does not exist.
        OSError: The store cannot be written to.
    """
    if not store.is_dir():
        raise NoBundle(f"{store} is not a store: there is no such folder.")
    with open(store / _LOCK, "a", encoding="ascii") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning(
                "%s is on a file system without locks (%s): let one program at a time change it",
                store,
                reason_of(error),
            )
        yield


def _write_pointer(store: Path, version: str, history: Sequence[str]) -> None:
    _check_version(store, version)
    # A kill between the two leaves a history that is one version ahead of the pointer, or
    # shorter; `rollback_version` looks up the current version's index in it.
    _replace(store, HISTORY, "".join(f"{line}\n" for line in history[-_MAX_HISTORY_LINES:]))
    fsync.sync_folder(store)
    _replace(store, CURRENT, f"{version}\n")
    try:
        fsync.sync_folder(store)
    except OSError as error:
        raise StoreNotSynced(
            f"{version} is current, but the disk of {store} does not confirm it "
            f"({reason_of(error)}): the change may be lost if the machine stops now."
        ) from error


def _check_version(store: Path, version: str) -> None:
    if not re.fullmatch(VERSION_PATTERN, version) or not (store / version / MANIFEST).is_file():
        raise BundleError(f"{store} has no version {version}.")


def _replace(store: Path, name: str, text: str) -> None:
    """Replace a file of the store in one step."""
    partial = store / f".{name}-{secrets.token_hex(4)}"
    try:
        fsync.write(partial, text.encode())
        partial.replace(store / name)
    finally:
        partial.unlink(missing_ok=True)


def _history(store: Path) -> list[str]:
    """Return the versions served so far, oldest first; invalid lines are dropped.

    A store without HISTORY was written by an early version and served each version in turn.
    """
    try:
        content = read_regular_file(store / HISTORY, _MAX_HISTORY_BYTES, follow_link=True)
    except BundleError:
        try:
            current = current_version(store)
        except NoBundle:
            return []
        return [version for version in versions(store) if version <= current]
    lines = content.decode("ascii", errors="replace").splitlines()
    return [line for line in lines if re.fullmatch(VERSION_PATTERN, line)]
