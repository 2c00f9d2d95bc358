"""Check of the places that a run writes to, before its work."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from models.errors import reason_of
from training.errors import OutputError

_MEGABYTE: Final = 1_000_000


def check_folder(folder: Path, purpose: str) -> None:
    """Raise unless a folder can be written to, or made; nothing is left behind.

    Raises:
        OutputError: It, or the folder that it would be made in, is no folder or not writable.
    """
    try:
        existing = _nearest_existing(folder)
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is not a folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise OutputError(
            f"{folder}, {purpose}, cannot be written ({reason_of(error)})."
        ) from error


def check_file(path: Path, purpose: str) -> None:
    """Raise unless a file can be written at a path, whose folder must exist.

    Raises:
        OutputError: It is a folder, or cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path}, {purpose}, is a folder: give the name of a file.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}, {purpose}, cannot be written: there is no {path.parent}.")
    if path.exists():
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path}, {purpose}, cannot be written (Permission denied).")
    else:
        check_folder(path.parent, purpose)


def check_space(folder: Path, num_bytes: int, purpose: str) -> None:
    """Raise if the disk of a folder has less than this free.

    Raises:
        OutputError: It has.
    """
    try:
        free = shutil.disk_usage(_nearest_existing(folder)).free
    except OSError:  # it cannot be measured on this file system
        return
    if free < num_bytes:
        raise OutputError(
            f"{folder}, {purpose}, has no room: about {num_bytes / _MEGABYTE:,.0f} MB are needed, "
            f"and {free / _MEGABYTE:,.0f} MB are free."
        )


def _nearest_existing(folder: Path) -> Path:
    """Return a folder, or the nearest of those around it that exists."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
