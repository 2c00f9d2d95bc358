"""Sources of picture files: a folder, or a zip file that is never unpacked."""

import os
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path

from training.config import MAX_FILE_BYTES
from training.errors import NoSuchData


class Source(ABC):
    """Read-only collection of named files; names are relative, with forward slashes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files, sorted, including those in hidden folders."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return True if there is a file of that name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            OSError: It cannot be read, or is larger than MAX_FILE_BYTES.
        """


class FolderSource(Source):
    """Files below a folder."""

    def names(self) -> list[str]:
        found: list[str] = []
        # Links to folders are followed, except back to a folder that contains them. A folder
        # reached by two paths is listed under both, so that the listing depends on no order.
        above: dict[Path, frozenset[str]] = {}
        for name, inner, files in os.walk(self.path, onerror=_raise_unlisted, followlinks=True):
            folder = Path(name)
            outer = above.get(folder.parent, frozenset())
            if (real := os.path.realpath(folder)) in outer:
                inner.clear()
                continue
            above[folder] = outer | {real}
            relative = folder.relative_to(self.path)
            found += [(relative / file).as_posix() for file in files]
        return sorted(found)

    def has(self, name: str) -> bool:
        return os.path.lexists(self.path / name)  # a broken link exists, and is unreadable

    def read(self, name: str) -> bytes:
        path = self.path / name
        if not path.is_file():
            raise OSError("not a regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise OSError(f"over {MAX_FILE_BYTES:,} bytes")
        return path.read_bytes()


class ZipSource(Source):
    """Entries of a zip file, read in place."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises anything on a damaged directory
            raise NoSuchData(f"{path} is not a zip file that can be read ({error}).") from error
        # Some Windows programs write backslashes, against the format's specification.
        self._entries = {
            entry.filename.replace("\\", "/"): entry
            for entry in self._zip.infolist()
            if not entry.filename.endswith(("/", "\\"))
        }

    def names(self) -> list[str]:
        return sorted(self._entries)

    def has(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> bytes:
        # zipfile enforces the announced size, so a zip bomb cannot exceed it.
        if self._entries[name].file_size > MAX_FILE_BYTES:
            raise OSError(f"over {MAX_FILE_BYTES:,} bytes")
        try:
            return self._zip.read(self._entries[name])
        except Exception as error:  # bad checksum, encrypted, unknown method, broken stream
            raise OSError(str(error) or type(error).__name__) from error


def open_source(path: Path) -> Source:
    """Open a folder or a zip file.

    Raises:
        NoSuchData: The path does not exist, or is neither.
    """
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return ZipSource(path)
    raise NoSuchData(f"{path} does not exist: give a folder with one folder of pictures per class.")


def _raise_unlisted(error: OSError) -> None:
    """Raise, because a folder that cannot be listed would silently shrink the data set."""
    raise NoSuchData(f"{error.filename} cannot be listed ({error.strerror}).") from error
