"""Inputs of one file per picture: a folder, or a list of paths and URLs."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models.imaging.limits import MAX_FILE_BYTES
from models.layout.files import is_picture, is_system
from models.text import clean
from scoring.errors import BadInput
from scoring.inputs.entry import Entry, Input, Unreadable, reason_of


class FolderInput(Input):
    """All pictures below a folder; the key is the path relative to it."""

    def __init__(self, file_system: fsspec.AbstractFileSystem, root: str) -> None:
        self._fs = file_system
        self._root = root.rstrip("/") or "/"
        self._is_local = isinstance(file_system, LocalFileSystem)

    def entries(self) -> Iterator[Entry]:
        self.skipped = 0
        above = frozenset((os.path.realpath(self._root),)) if self._is_local else frozenset()
        yield from self._walk("", above)

    def read(self, entries: Sequence[Entry]) -> list[bytes | Unreadable]:
        return [read_file(self._fs, posixpath.join(self._root, entry.key)) for entry in entries]

    def _walk(self, prefix: str, above: frozenset[str]) -> Iterator[Entry]:
        """Yield the entries below a sub-folder, in the order of their keys.

        Links to folders are followed, except back to a folder that contains them.
        """
        folder = posixpath.join(self._root, prefix)
        list_folder = self._scan if self._is_local else self._list
        found: list[str] = []  # name, NUL, stamp; a folder's name ends in "/", as it sorts
        for name, is_folder, stamp in list_folder(folder):
            if is_system(name):
                self.skipped += 1
            elif is_folder:
                found.append(f"{name}/\0")
            elif _is_picture_suffix(name[name.rfind(".") :]):
                found.append(f"{name}\0{stamp}")
            else:
                self.skipped += 1
        found.sort()
        for text in found:
            name, _, stamp = text.partition("\0")
            if not name.endswith("/"):
                yield Entry(prefix + name, stamp=stamp)
                continue
            inside = above
            if self._is_local:
                real = os.path.realpath(folder + name)
                if real in above:
                    continue
                inside = above | {real}
            yield from self._walk(prefix + name, inside)

    def _scan(self, folder: str) -> Iterator[tuple[str, bool, str]]:
        """Yield (name, is a folder, stamp) of what a local folder holds."""
        try:
            with os.scandir(folder) as found:
                for item in found:
                    try:
                        facts = item.stat()
                    except OSError:  # a broken link: reading it gives the reason
                        yield item.name, False, ""
                        continue
                    yield item.name, item.is_dir(), f"{facts.st_size} {facts.st_mtime_ns}"
        except OSError as error:
            raise _unlisted(folder, error) from error

    def _list(self, folder: str) -> Iterator[tuple[str, bool, str]]:
        """Yield the same of a folder of another file system."""
        try:
            listing = self._fs.ls(folder.rstrip("/"), detail=True)
        except (OSError, ValueError) as error:
            raise _unlisted(folder, error) from error
        for info in listing:
            if name := posixpath.basename(info["name"].rstrip("/")):
                yield name, info["type"] == "directory", _stamp(info)


class ListInput(Input):
    """Paths or URLs, one per line; a relative path is relative to the list's folder."""

    def __init__(self, file_system: fsspec.AbstractFileSystem, path: str) -> None:
        self._fs, self._path = file_system, path

    def entries(self) -> Iterator[Entry]:
        try:
            text = self._fs.cat_file(self._path).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            raise BadInput(clean(f"{self._path} cannot be read ({reason_of(error)}).")) from error
        for line in sorted(filter(None, map(str.strip, text.splitlines()))):
            yield Entry(line, self.resolve(line))

    def resolve(self, path: str) -> str:
        """Return a path or URL of the list, relative to the list's folder, as an absolute one."""
        if "://" in path or path.startswith("/"):
            return path
        return posixpath.join(self._fs.unstrip_protocol(posixpath.dirname(self._path)), path)

    def read(self, entries: Sequence[Entry]) -> list[bytes | Unreadable]:
        results: list[bytes | Unreadable] = []
        for entry in entries:
            try:
                file_system, path = fsspec.core.url_to_fs(entry.locator)
            except (ImportError, ValueError, OSError) as error:
                results.append(Unreadable(reason_of(error)))
                continue
            results.append(read_file(file_system, path))
        return results


def read_file(file_system: fsspec.AbstractFileSystem, path: str) -> bytes | Unreadable:
    """Return the content of one file, or the error."""
    try:
        with _open(file_system, path) as file:
            data: bytes = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return Unreadable(reason_of(error))
    if len(data) > MAX_FILE_BYTES:
        return Unreadable(f"over {MAX_FILE_BYTES:,} bytes")
    return data


def _open(file_system: fsspec.AbstractFileSystem, path: str) -> Any:
    """Open a file to read it whole, in one request."""
    if isinstance(file_system, LocalFileSystem):
        return open(path, "rb")
    return file_system.open(path, "rb", cache_type="all")


def _unlisted(folder: str, error: BaseException) -> BadInput:
    return BadInput(clean(f"{folder} cannot be listed ({reason_of(error)})."))


def _stamp(info: dict[str, Any]) -> str:
    """Return size and time of change from a file's listing."""
    changed = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified")
    return f"{info.get('size', '')} {changed or ''}"


@lru_cache(1024)
def _is_picture_suffix(suffix: str) -> bool:
    """Return True for the end of a picture's name from its last dot on; else its last letter."""
    return is_picture(PurePosixPath("x" + suffix))
