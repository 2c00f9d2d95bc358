"""A copy of a whole studio, made while it is in use.

The database is copied first: the files that it names are there before its rows, and never change.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from studio.database import Database
from studio.problems import DatabaseUnusable

_FOLDERS: Final = ("blobs", "versions")


def save_snapshot(database: Database, folder: Path, target: Path, *, database_file: str) -> int:
    """Copy the database, pictures and manifests into a new folder, and return the pictures' number.

    Thumbnails are left out: they are made again. Pictures are hard links where that is possible.

    Args:
        database: The database, SQLite.
        folder: The studio's data folder.
        target: A new folder, usable as the data folder of another studio.
        database_file: Name of the database's file in a data folder.

    Raises:
        DatabaseUnusable: The database is PostgreSQL, or the folder is there already.
        OSError: The disk is full or fails.
    """
    try:
        target.mkdir(parents=True)
    except FileExistsError as error:
        raise DatabaseUnusable(f"{target} is there already: name a new folder.") from error
    database.snapshot(target / database_file)
    number = 0
    for name in _FOLDERS:
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                copy = target / name / path.relative_to(folder / name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(path, copy)
                number += name == _FOLDERS[0]
    return number


def _link_or_copy(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except OSError:  # another file system
        shutil.copyfile(path, copy)
