"""Writes and renames that survive a power cut."""

import errno
import os
from pathlib import Path
from typing import Final

# SMB and some FUSE file systems cannot sync a folder; there, a rename is as durable as it gets.
_CANNOT_SYNC_FOLDERS: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def write(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on disk.

    Raises:
        OSError: The disk is full, or the file is not writable.
    """
    with open(path, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the files created and renamed in a folder are on disk under their names.

    Does nothing on a file system that has no such call.

    Raises:
        OSError: The disk fails.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(handle)
