"""Files of a bundle: bounded reading, manifest and checksums.

Others may write to the folder: a link could lead out of the bundle, and a pipe or a device would
never end.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.bundle.manifest import FileFacts, Manifest, schema_fault
from models.errors import BundleIncomplete, BundleUnreadable, SchemaUnsupported, reason_of

MANIFEST: Final = "manifest.json"
MODEL: Final = "model.pt"
REPORT: Final = "report.html"
CARD: Final = "model_card.md"
PARTIAL: Final = ".publishing-"
"""Prefix of the folder of a bundle that is being written."""

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Of each file of a bundle: name, size in bytes, and times of the last change of the content and of
the permissions, in ns."""

_MAX_SMALL_BYTES: Final = 64 * 2**20  # manifest or signature; far above any

# Errors that depend on what the path is. Others (permission, no free descriptor, a broken disk or
# connection) do not depend on the bundle, and may be gone at the next try.
_WRONG_KIND_ERRNOS: Final = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENAMETOOLONG,
}


def example_name(index: int | str) -> str:
    """Return the file name of the example picture of a class, by its index among the labels."""
    return f"example_{index}.jpg"


def read_manifest(path: Path) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        BundleIncomplete: It is missing, not a regular file, or larger than 64 MiB.
        BundleUnreadable: It cannot be read now.
        SchemaUnsupported: It has another schema version, or breaks its schema.
    """
    return parse_manifest(path, read_small(path / MANIFEST))


def parse_manifest(path: Path, text: bytes) -> Manifest:
    """Check a bundle's manifest from its bytes.

    Raises:
        BundleIncomplete: It belongs to another bundle.
        SchemaUnsupported: It has another schema version, or breaks its schema.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise SchemaUnsupported(f"{path / MANIFEST}: {schema_fault(error)}") from error
    if manifest.version != path.name and not path.name.startswith(PARTIAL):
        raise BundleIncomplete(f"{path} holds the bundle {manifest.version}.")
    if MODEL not in manifest.files:
        raise SchemaUnsupported(f"{path / MANIFEST} lists no {MODEL}.")
    return manifest


def read_files(path: Path, manifest: Manifest) -> dict[str, bytes]:
    """Read a bundle's files and check them against the manifest.

    Raises:
        BundleIncomplete: A file is missing, is not a regular file, or its checksum differs.
        BundleUnreadable: A file cannot be read now.
    """
    return {name: _read_verified(path / name, facts) for name, facts in manifest.files.items()}


def read_listed_file(path: Path, manifest: Manifest, name: str) -> bytes:
    """Read one file of a bundle and check it against the manifest, which lists it.

    Raises:
        BundleIncomplete: It is missing, is not a regular file, or its checksum differs.
        BundleUnreadable: It cannot be read now.
    """
    return _read_verified(path / name, manifest.files[name])


def read_small(path: Path) -> bytes:
    """Read a file of a bundle that has no checksum.

    Raises:
        BundleIncomplete: It is missing, not a regular file, or larger than 64 MiB.
        BundleUnreadable: It cannot be read now.
    """
    data = read_regular_file(path, _MAX_SMALL_BYTES)
    if len(data) > _MAX_SMALL_BYTES:
        raise BundleIncomplete(f"{path} is too large.")
    return data


def read_regular_file(path: Path, max_bytes: int, *, follow_link: bool = False) -> bytes:
    """Read a regular file, at most one byte more than expected, without waiting.

    Args:
        path: The file.
        max_bytes: Largest expected size.
        follow_link: Also read a link to a regular file.

    Raises:
        BundleIncomplete: It is missing, or not a regular file.
        BundleUnreadable: It cannot be read now.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags if follow_link else flags | os.O_NOFOLLOW)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise BundleIncomplete(f"{path} is not a regular file.")
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if not isinstance(error, OSError) or error.errno in _WRONG_KIND_ERRNOS:
            if path.is_symlink() and not follow_link:
                raise BundleIncomplete(
                    f"{path} is a link: a bundle holds regular files only."
                ) from error
            raise BundleIncomplete(f"{path} cannot be read ({reason_of(error)}).") from error
        raise BundleUnreadable(f"{path} cannot be read ({reason_of(error)}).") from error


def _read_verified(path: Path, facts: FileFacts) -> bytes:
    data = read_regular_file(path, facts.bytes)
    if len(data) != facts.bytes or hashlib.sha256(data).hexdigest() != facts.sha256:
        raise BundleIncomplete(f"{path} is not the file that was published: its checksum differs.")
    return data


def fingerprint(path: Path) -> Fingerprint:
    """Return names, sizes and times of a bundle's files, to detect changes.

    `chmod` and `chown` change only the time of the permissions.
    """
    try:
        entries = sorted(path.iterdir())
        return tuple(
            (entry.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            for entry in entries
            for facts in [entry.stat()]
        )
    except (OSError, ValueError):  # a null byte in the name is a ValueError
        return ()
