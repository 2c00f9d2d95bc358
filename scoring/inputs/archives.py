"""Inputs that hold many pictures in one file: tar (WebDataset) and Parquet."""

import posixpath
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from models.imaging.limits import MAX_FILE_BYTES
from models.layout.files import is_picture, system_part
from models.text import clean
from scoring.errors import BadInput
from scoring.inputs.entry import Entry, Input, Unreadable, reason_of
from scoring.inputs.files import ListInput

# Names of the columns that are searched for, in this order.
_BYTES_COLUMNS: Final = ("image", "bytes", "picture", "jpg", "png")
_PATH_COLUMNS: Final = ("path", "url", "file", "file_name")
_KEY_COLUMNS: Final = ("key", "__key__", "id", "file_name")


class TarInput(Input):
    """Picture members of a tar file, which is not compressed; read in place by their offsets."""

    def __init__(self, file_system: fsspec.AbstractFileSystem, path: str) -> None:
        self._fs, self._path = file_system, path
        self._local = threading.local()

    def entries(self) -> Iterator[Entry]:
        self.skipped = 0
        found: dict[str, Entry] = {}
        try:
            with self._fs.open(self._path, "rb") as file, tarfile.open(fileobj=file) as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # a million take 1 GB
                    if not member.isfile():
                        continue
                    name = posixpath.normpath(member.name)  # "./a.jpg" is not hidden
                    if system_part(name) or not is_picture(PurePosixPath(name)):
                        self.skipped += 1
                        continue
                    key = clean(name)
                    place = f"{member.offset_data} {member.size}"
                    found[key] = Entry(
                        key, place, str(member.mtime)
                    )  # the last one counts, as in tar
        except (OSError, ValueError, tarfile.TarError) as error:
            raise BadInput(clean(f"{self._path} cannot be listed ({reason_of(error)}).")) from error
        yield from (found[key] for key in sorted(found))

    def read(self, entries: Sequence[Entry]) -> list[bytes | Unreadable]:
        return [self._read_member(entry) for entry in entries]

    def _read_member(self, entry: Entry) -> bytes | Unreadable:
        offset, size = map(int, entry.locator.split())
        if size > MAX_FILE_BYTES:
            return Unreadable(f"over {MAX_FILE_BYTES:,} bytes")
        try:
            file = self._file()
            file.seek(offset)
            data: bytes = file.read(size)
        except (OSError, ValueError) as error:
            return Unreadable(reason_of(error))
        return data if len(data) == size else Unreadable("the archive ends before the picture does")

    def _file(self) -> Any:
        """Return this thread's open file."""
        if not hasattr(self._local, "file"):
            self._local.file = self._fs.open(self._path, "rb")
        return self._local.file


class ParquetInput(Input):
    """Rows of a Parquet file with a column of encoded pictures, or of their paths or URLs.

    The column is `image` (bytes, or a struct with `bytes` and `path` as Hugging Face writes it),
    `bytes`, `picture`, `jpg` or `png`; or `path`, `url`, `file` or `file_name`. The key is
    the column `key`, `__key__`, `id` or `file_name`, or else the row's number.
    """

    def __init__(self, file_system: fsspec.AbstractFileSystem, path: str) -> None:
        self._fs, self._path = file_system, path
        self._list = ListInput(file_system, path)
        self._local = threading.local()
        with self._guard():
            schema = self._file().schema_arrow
        self._bytes = next((name for name in _BYTES_COLUMNS if name in schema.names), None)
        self._paths = next((name for name in _PATH_COLUMNS if name in schema.names), None)
        self._key = next((name for name in _KEY_COLUMNS if name in schema.names), None)
        if self._bytes is None and self._paths is None:
            names = ", ".join(_BYTES_COLUMNS + _PATH_COLUMNS)
            raise BadInput(clean(f"{path} has no column of pictures: none is named {names}."))

    def entries(self) -> Iterator[Entry]:
        with self._guard():
            file = self._file()
            columns = [self._key] if self._key else []
            if self._bytes is None:
                columns.append(cast(str, self._paths))
            found: list[Entry] = []
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(dict.fromkeys(columns)))
                for row in range(file.metadata.row_group(group).num_rows):
                    key = str(table[self._key][row].as_py()) if self._key else f"{len(found):012}"
                    if self._bytes is None:
                        path = str(table[self._paths][row].as_py())
                        found.append(Entry(key, self._list.resolve(path)))
                    else:
                        found.append(Entry(key, f"{group} {row}"))
        found.sort()
        yield from found

    def read(self, entries: Sequence[Entry]) -> list[bytes | Unreadable]:
        if self._bytes is None:
            return self._list.read(entries)
        return [self._read_row(*map(int, entry.locator.split())) for entry in entries]

    def _read_row(self, group: int, row: int) -> bytes | Unreadable:
        try:
            value = self._group(group)[row].as_py()
        except (OSError, ValueError, pa.ArrowException) as error:
            return Unreadable(reason_of(error))
        if isinstance(value, dict):
            value = value.get("bytes")
        if not isinstance(value, bytes):
            return Unreadable("the row holds no bytes")
        return (
            value if len(value) <= MAX_FILE_BYTES else Unreadable(f"over {MAX_FILE_BYTES:,} bytes")
        )

    def _group(self, group: int) -> pa.ChunkedArray:
        """Return the pictures of one row group; each thread keeps the last one."""
        if getattr(self._local, "group", None) != group:
            self._local.column = None  # free it before the next is read
            # On this thread alone, as in `scoring.output`.
            table = self._file().read_row_group(group, columns=[self._bytes], use_threads=False)
            self._local.column = table[0]
            self._local.group = group
        return self._local.column

    def _file(self) -> pq.ParquetFile:
        if not hasattr(self._local, "file"):
            self._local.file = pq.ParquetFile(self._fs.open(self._path, "rb"), pre_buffer=False)
        return self._local.file

    def _guard(self) -> "_Guard":
        return _Guard(self._path)


class _Guard:
    """Context manager that turns PyArrow's errors about a broken file into `BadInput`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError | pa.ArrowException):
            raise BadInput(clean(f"{self._path} cannot be read ({reason_of(error)}).")) from error
