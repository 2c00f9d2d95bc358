"""A bundle as one file: packed into a tar file, and fetched again by its checksum.

For machines that share no folder. The caller of `fetch` gives the file's SHA-256 checksum, so the
server need not be trusted, and fetching can be repeated.
"""

import hashlib
import io
import re
import secrets
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Final

from models.bundle import fsync
from models.bundle.files import MANIFEST, PARTIAL, read_files, read_manifest
from models.bundle.signing import SIGNATURE
from models.bundle.store import current_version, lock, remove_leftovers, set_current, versions
from models.errors import BundleError, BundleIncomplete, BundleUnreadable, NoBundle, reason_of

MAX_PACKED_BYTES: Final = 2 * 2**30
"""Largest file that is fetched; far above any bundle."""

_CHUNK_BYTES: Final = 2**20
_TIMEOUT_S: Final = 30
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME: Final = re.compile(r"[^/\\\0]{1,255}")


def pack(store: Path, version: str, file: Path) -> str:
    """Write a version of a store to a tar file, and return the file's SHA-256 checksum.

    The same version gives the same bytes.

    Raises:
        BundleError: The store has no such version, or its files have changed.
        OSError: The file cannot be written.
    """
    if version not in versions(store):
        raise NoBundle(f"{store} has no version {version}.")
    folder = store / version
    names = [MANIFEST, *sorted(read_manifest(folder).files)]
    names += [SIGNATURE] if (folder / SIGNATURE).is_file() else []
    read_files(folder, read_manifest(folder))  # no broken bundle is packed
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            data = (folder / name).read_bytes()
            member = tarfile.TarInfo(name)  # without owner and time: equal bytes
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    partial = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        fsync.write(partial, buffer.getvalue())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def fetch(address: str, sha256: str, store: Path, *, promote: bool = True) -> str:
    """Add a packed bundle to a store, and return its version.

    A version that the store already has stays as it is.

    Args:
        address: URL (https, http) or path of the packed file.
        sha256: Its checksum, in hexadecimal.
        store: The store's folder, created if it does not exist.
        promote: Make the version the current one.

    Raises:
        BundleUnreadable: The file cannot be read.
        BundleIncomplete: It has another checksum, or holds no whole bundle.
        OSError: The store cannot be written to.
    """
    if not _SHA256.fullmatch(sha256.lower()):
        raise BundleError(f"{sha256} is not a SHA-256 checksum of 64 hexadecimal digits.")
    store.mkdir(parents=True, exist_ok=True)
    with lock(store):
        remove_leftovers(store)
        partial = store / f"{PARTIAL}{secrets.token_hex(4)}"
        try:
            partial.mkdir()
            packed = partial / "packed.tar"
            _download(address, sha256.lower(), packed)
            _unpack(packed, address)
            version = read_manifest(partial).version
            read_files(partial, read_manifest(partial))
            if version not in versions(store):
                fsync.sync_folder(partial)
                partial.rename(store / version)
                fsync.sync_folder(store)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if promote and _current(store) != version:
            set_current(store, version)
    return version


def _current(store: Path) -> str | None:
    try:
        return current_version(store)
    except BundleError:
        return None


def _download(address: str, sha256: str, target: Path) -> None:
    """Write the file at an address, if it has the checksum."""
    digest = hashlib.sha256()
    left = MAX_PACKED_BYTES
    with _open(address) as source, open(target, "wb") as file:
        while chunk := _read(source, address):
            left -= len(chunk)
            if left < 0:
                raise BundleIncomplete(f"{address} has over {MAX_PACKED_BYTES:,} bytes.")
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise BundleIncomplete(f"{address} has the checksum {digest.hexdigest()}, not {sha256}.")


def _open(address: str) -> IO[bytes]:
    """Open a URL or a path to read it."""
    try:
        if address.lower().startswith(("https://", "http://")):
            response: IO[bytes] = urllib.request.urlopen(address, timeout=_TIMEOUT_S)  # noqa: S310
            return response
        return Path(address).open("rb")
    except (OSError, ValueError) as error:  # urllib.error.URLError is an OSError
        raise _unreadable(address, error) from error


def _read(source: IO[bytes], address: str) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except (OSError, ValueError) as error:
        raise _unreadable(address, error) from error


def _unreadable(address: str, error: Exception) -> BundleUnreadable:
    if isinstance(error, urllib.error.HTTPError):
        return BundleUnreadable(f"{address} cannot be fetched (status {error.code}).")
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        error = error.reason
    reason = reason_of(error) if isinstance(error, OSError) else str(error)
    return BundleUnreadable(f"{address} cannot be fetched ({reason}).")


def _unpack(packed: Path, address: str) -> None:
    """Replace a tar file by its members, which are plain files with plain names."""
    try:
        with tarfile.open(packed, "r:") as archive:
            for member in archive:
                if not (member.isreg() and _PLAIN_NAME.fullmatch(member.name)):
                    raise BundleIncomplete(f"{address} holds {member.name}, which no bundle has.")
                if member.name in (".", "..", packed.name):
                    raise BundleIncomplete(f"{address} holds {member.name}, which no bundle has.")
                content = archive.extractfile(member)
                assert content is not None  # a regular file
                fsync.write(packed.with_name(member.name), content.read())
    except (tarfile.TarError, EOFError) as error:
        raise BundleIncomplete(f"{address} is not a packed bundle ({error}).") from error
    packed.unlink()
