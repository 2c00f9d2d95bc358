"""Persistent cache of computed values, keyed by the content they were computed from.

One SQLite file: its transactions survive a kill, several runs may share it, and every entry
carries a checksum, so that a damaged one is computed again instead of being trusted.
"""

import contextlib
import errno
import sqlite3
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from training.data.progress import SILENT, Progress
from training.errors import OutputError

_FILE_NAME: Final = "features.sqlite"
_LOCK_TIMEOUT_S: Final = 30.0  # wait for another run's write


class Cache:
    """A persistent mapping from keys to bytes; usable from several threads."""

    def __init__(self, folder: Path, *, progress: Progress = SILENT) -> None:
        """Open the cache; create it if it is missing or damaged.

        Args:
            folder: Made if it does not exist.
            progress: Logs that the run goes on without the cache.

        Raises:
            OutputError: The folder cannot be written to.
        """
        self.folder = folder
        self._path = folder / _FILE_NAME
        self._progress = progress
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None  # None if the run goes on without it
        try:
            self._reopen()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"The cache {self._path} cannot be used ({error}).") from error

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None if it is missing or damaged."""
        with self._lock:
            if self._database is None:
                return None
            try:
                row = self._database.execute(
                    "SELECT value, crc FROM entries WHERE key = ?", (key,)
                ).fetchone()
            except sqlite3.DatabaseError as error:
                if _is_locked(error):
                    self._go_on_without(error)
                return None
        # A damaged row may have values of other types.
        if row is not None and isinstance(row[0], bytes) and _checksum(key, row[0]) == row[1]:
            return row[0]
        return None

    def put(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Store several values in one transaction.

        A file that was replaced, deleted or damaged since it was opened is opened again. If that
        does not help either, the run goes on without the cache.

        Raises:
            OutputError: The disk is full.
        """
        rows = [(key, value, _checksum(key, value)) for key, value in items]
        with self._lock:
            if self._database is None:
                return
            try:
                try:
                    self._insert(self._database, rows)
                except sqlite3.Error as error:
                    if _is_locked(error) or _is_full(error):
                        raise
                    self._insert(self._reopen(error), rows)
            except (OSError, sqlite3.Error) as error:
                if _is_full(error):
                    raise OutputError(
                        f"The cache {self._path} cannot be written ({error})."
                    ) from error
                self._go_on_without(error)

    def _reopen(self, error: sqlite3.Error | None = None) -> sqlite3.Connection:
        """Open the file at the cache's path, or an empty one in place of a damaged file."""
        self._close()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if error is not None and _is_damage(error):
                raise error
            self._database = self._open()
        except sqlite3.DatabaseError as reason:
            if not _is_damage(reason):  # no permission, no space, locked
                raise
            self._path.unlink(missing_ok=True)
            self._database = self._open()
        return self._database

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
            database.execute("SELECT key, value, crc FROM entries LIMIT 0").fetchone()
        except sqlite3.Error:
            database.close()
            raise
        return database

    @staticmethod
    def _insert(database: sqlite3.Connection, rows: list[tuple[str, bytes, int]]) -> None:
        with database:
            database.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)

    def _go_on_without(self, error: Exception) -> None:
        self._close()
        self._progress.log(
            f"The cache {self._path} cannot be used any more ({error}): going on without it."
        )

    def _close(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._close()


def _checksum(key: str, value: bytes) -> int:
    """Return a checksum of both, because a damaged index leads to the value of another key."""
    return zlib.crc32(value, zlib.crc32(key.encode()))


def _is_damage(error: sqlite3.Error) -> bool:
    """Return True if the file is not a readable database with our table."""
    if isinstance(error, sqlite3.OperationalError):  # no permission, no space, locked, moved away
        return _code(error) == sqlite3.SQLITE_ERROR  # a table without our columns
    return isinstance(error, sqlite3.DatabaseError)


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 of another error."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _is_locked(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_full(error: Exception) -> bool:
    return _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC
