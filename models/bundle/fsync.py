"""Writes and renames that survive a power cut."""

import os
from pathlib import Path


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
    """Wait until the files created and renamed in a folder are on disk under their names."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
