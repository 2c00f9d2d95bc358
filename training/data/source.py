"""Sources of picture files: a folder, or a zip file that is never unpacked."""

import hashlib
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from models.errors import PictureError
from models.layout.archive import entry_names
from models.layout.files import SYSTEM_REASON, is_system, system_part
from models.text import clean, normalize_path
from training.config import MAX_FILE_BYTES
from training.errors import ChangedData, NoSuchData


@dataclass(frozen=True)
class SkippedFile:
    """A file, or a folder with all that is in it, that is not trained on, and the reason."""

    name: str
    reason: str


class Source(ABC):
    """Read-only collection of named files, each of which keeps the content of its first reading.

    Names are relative, with forward slashes, in one spelling (NFC) and safe to show: what cannot
    be seen or encoded in a file's name is U+FFFD here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digests: dict[str, bytes] = {}

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files, sorted, without system files."""

    @property
    @abstractmethod
    def skipped(self) -> list[SkippedFile]:
        """Hidden files, system folders, and archive entries that cannot be named."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return True if there is a file of that name."""

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Return the content of one file, or raise OSError or PictureError."""

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        All that a run computes for a file is kept under the checksum of its first reading.

        Raises:
            OSError: It cannot be read, or is larger than MAX_FILE_BYTES.
            ChangedData: It was read before, and has another content now, or none.
        """
        try:
            data = self._read(name)
        except (OSError, PictureError) as error:
            if name not in self._digests:
                raise
            raise ChangedData(f"{name} could be read before and cannot now ({error}).") from error
        digest = hashlib.sha256(data).digest()
        if self._digests.setdefault(name, digest) != digest:
            raise ChangedData(f"{name} has changed since this run read it: run it again.")
        return data

    def digest(self, name: str) -> str:
        """Return the SHA-256 digest, in hexadecimal, of a file that was read before."""
        return self._digests[name].hex()


class FolderSource(Source):
    """Files below a folder."""

    def names(self) -> list[str]:
        return sorted(self._listing[0])

    @property
    def skipped(self) -> list[SkippedFile]:
        return self._listing[1]

    def has(self, name: str) -> bool:
        return name in self._listing[0]  # a broken link exists, and is unreadable

    def _read(self, name: str) -> bytes:
        path = self.path / self._listing[0].get(name, name)
        if not path.is_file():
            raise OSError("not a regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise OSError(f"over {MAX_FILE_BYTES:,} bytes")
        return path.read_bytes()

    @cached_property
    def _listing(self) -> tuple[Mapping[str, str], list[SkippedFile]]:
        """The path of each file by its name, and what is skipped."""
        paths: dict[str, str] = {}
        skipped: list[SkippedFile] = []
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
            prefix = f"{relative.as_posix()}/" if relative.parts else ""
            system = [part for part in inner if is_system(part)]
            skipped += [
                SkippedFile(f"{_visible(prefix + part)}/", SYSTEM_REASON) for part in system
            ]
            inner[:] = sorted(set(inner) - set(system))
            for file in sorted(files):
                path = prefix + file
                if is_system(file):
                    skipped.append(SkippedFile(_visible(path), SYSTEM_REASON))
                else:
                    paths[_unique(_visible(path), paths)] = path
        return paths, sorted(skipped, key=lambda file: file.name)


class ZipSource(Source):
    """Entries of a zip file, read in place."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except UnicodeDecodeError as error:
            raise NoSuchData(
                f"{path} marks a file name as UTF-8 that is not: pack it again with a program that "
                "writes UTF-8 names."
            ) from error
        except Exception as error:  # zipfile raises anything on a damaged directory
            raise NoSuchData(f"{path} is not a zip file that can be read ({error}).") from error
        self._entries: dict[str, zipfile.ZipInfo] = {}
        self._skipped: dict[str, SkippedFile] = {}
        self._add([entry for entry in self._zip.infolist() if entry.filename])

    def _add(self, entries: list[zipfile.ZipInfo]) -> None:
        """Name the entries; the last of several with one name counts, as for `unzip`."""
        paths: dict[str, zipfile.ZipInfo] = {}
        for entry, (given, path) in zip(entries, entry_names(entries), strict=True):
            if path is None:
                self._skip(clean(given), "its name leads out of the archive")
            elif system := system_part(path):
                self._skip(clean(system), SYSTEM_REASON)
            elif path and not given.endswith(("/", "\\")):
                if path in paths:
                    self._skip(clean(path), "a later entry of the archive has the same name")
                paths[path] = entry
        for path, entry in sorted(paths.items()):
            self._entries[_unique(clean(path), self._entries)] = entry

    def _skip(self, name: str, reason: str) -> None:
        self._skipped[name] = SkippedFile(name, reason)

    def names(self) -> list[str]:
        return sorted(self._entries)

    @property
    def skipped(self) -> list[SkippedFile]:
        return [self._skipped[name] for name in sorted(self._skipped)]

    def has(self, name: str) -> bool:
        return name in self._entries

    def _read(self, name: str) -> bytes:
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
    try:
        if path.is_dir():
            return FolderSource(path)
        if path.is_file():
            return ZipSource(path)
    except OSError as error:
        raise NoSuchData(f"{path} cannot be read ({error.strerror}).") from error
    raise NoSuchData(f"{path} does not exist: give a folder with one folder of pictures per class.")


def _visible(path: str) -> str:
    """Return a relative path in one spelling, safe to show."""
    return path if path.isascii() and path.isprintable() else clean(normalize_path(path))


def _unique(name: str, taken: Container[str]) -> str:
    """Return a name with a number if another file has it, in the same spelling."""
    if name not in taken:
        return name
    path, number, unique = PurePosixPath(name), 1, name
    while unique in taken:
        number += 1
        unique = path.with_name(f"{path.stem} ({number}){path.suffix}").as_posix()
    return unique


def _raise_unlisted(error: OSError) -> None:
    """Raise, because a folder that cannot be listed would silently shrink the data set."""
    raise NoSuchData(f"{error.filename} cannot be listed ({error.strerror}).") from error
