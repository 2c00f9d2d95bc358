"""Persistent cache of computed values, keyed by the content they were computed from.

One SQLite file: its transactions survive a kill, several runs may share it, and every value
carries a checksum, so that a damaged entry is computed again instead of being trusted.
"""

import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from training.errors import OutputError

_FILE_NAME: Final = "features.sqlite"
_LOCK_TIMEOUT_S: Final = 30.0  # wait for another run's write


class Cache:
    """A persistent mapping from keys to bytes; usable from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the cache; create it if it is missing or damaged.

        Raises:
            OutputError: The folder cannot be written to.
        """
        self.folder = folder
        self._path = folder / _FILE_NAME
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                self._replace_damaged(error)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"The cache {self._path} cannot be used ({error}).") from error

    def _replace_damaged(self, error: sqlite3.DatabaseError) -> None:
        """Replace a damaged file by an empty one; re-raise an error that is no damage."""
        if isinstance(error, sqlite3.OperationalError):  # no permission, no space, locked
            raise error
        self._path.unlink()
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)
        try:
            # A kill loses nothing. A power cut may damage the file, which is then replaced:
            # cheaper than waiting for the disk after each chunk.
            database.execute("PRAGMA synchronous = OFF")
            database.execute(
                "CREATE TABLE IF NOT EXISTS entries"
                " (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL)"
            )
            database.execute("SELECT key FROM entries LIMIT 1").fetchone()
        except sqlite3.Error:
            database.close()
            raise
        return database

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if it is missing or damaged."""
        with self._lock, contextlib.suppress(sqlite3.DatabaseError):
            row = self._database.execute(
                "SELECT value, crc FROM entries WHERE key = ?", (key,)
            ).fetchone()
            if row is not None and zlib.crc32(row[0]) == row[1]:
                return bytes(row[0])
        return None

    def put(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Store several values in one transaction.

        Raises:
            OutputError: The disk is full, or the file is not writable.
        """
        rows = [(key, value, zlib.crc32(value)) for key, value in items]
        try:
            with self._lock:
                try:
                    self._insert(rows)
                except sqlite3.DatabaseError as error:
                    self._replace_damaged(error)
                    self._insert(rows)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"The cache {self._path} cannot be written ({error}).") from error

    def _insert(self, rows: list[tuple[str, bytes, int]]) -> None:
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._database.close()
