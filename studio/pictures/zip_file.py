"""Zip files of pictures: bounded before they are opened, read entry by entry, never unpacked."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.layout.archive import entry_names
from models.text import clean
from studio.problems import BadArchive, TooManyFiles

# APPNOTE.TXT, 4.3.16 and 4.3.14: end of central directory, and its record in large archives.
_END: Final = struct.Struct("<4s4H2LH")
_END_MARK: Final = b"PK\x05\x06"
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64_LOCATOR_MARK: Final = b"PK\x06\x07"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_MARK: Final = b"PK\x06\x06"
_ENCRYPTED: Final = 1  # 4.4.4: bit 0
_MAX_COMMENT_BYTES: Final = 65_535
_MAX_DIRECTORY_BYTES_PER_FILE: Final = 1_000  # an entry's record with a long name has 400


@dataclass(frozen=True)
class Entry:
    """A file in a zip file.

    Attributes:
        path: Its path, None if it points outside the archive.
        shown: Its name, safe to show.
        info: Its record.
    """

    path: str | None
    shown: str
    info: zipfile.ZipInfo


class PictureZip:
    """An opened zip file."""

    def __init__(self, path: Path, *, max_files: int, max_bytes: int) -> None:
        """Open a zip file whose directory is not larger than allowed.

        Args:
            path: The file.
            max_files: Max number of files.
            max_bytes: Max total of the files' sizes, unpacked.

        Raises:
            BadArchive: It is not a zip file, or is broken.
            TooManyFiles: It has more files than allowed, or they are larger.
        """
        _check_directory(path, max_files)
        try:
            self._zip = zipfile.ZipFile(path)
            infos = [info for info in self._zip.infolist() if info.filename]
        except Exception as error:  # zipfile raises anything on a damaged directory
            raise BadArchive(
                f"This is not a zip file that can be read ({clean(str(error))})."
            ) from error
        if len(infos) > max_files:
            raise TooManyFiles(f"A zip file may hold {max_files:,} files.")
        if sum(info.file_size for info in infos) > max_bytes:
            raise TooManyFiles(f"The files of a zip file may have {max_bytes:,} bytes in total.")
        # The last of several entries of one name counts, as for `unzip`.
        found: dict[str, Entry] = {}
        for info, (given, name) in zip(infos, entry_names(infos), strict=True):
            if not given.endswith(("/", "\\")):
                shown = clean(name if name is not None else given)
                found[shown] = Entry(None if name is None else shown, shown, info)
        self.entries = list(found.values())

    def read(self, entry: Entry, *, max_bytes: int) -> bytes:
        """Return a file's content.

        Raises:
            OSError: It is larger than allowed, encrypted, or broken.
        """
        if entry.info.file_size > max_bytes:
            raise OSError(f"The file is larger than the {max_bytes:,} bytes allowed.")
        if entry.info.flag_bits & _ENCRYPTED:
            raise OSError("It is encrypted: pack the zip file without a password.")
        try:
            # zipfile enforces the announced size, so that no entry unpacks to more.
            return self._zip.read(entry.info)
        except Exception as error:  # bad checksum, encrypted, unknown method, broken stream
            raise OSError(clean(str(error)) or type(error).__name__) from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def batches(entries: list[Entry], *, max_files: int, max_bytes: int) -> Iterator[list[Entry]]:
    """Yield entries in batches of a max number and a max total size."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) >= max_files or size + entry.info.file_size > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.info.file_size
    if batch:
        yield batch


def _check_directory(path: Path, max_files: int) -> None:
    """Raise before Python reads a directory that is larger than allowed into memory.

    Raises:
        BadArchive: The file has no end record.
        TooManyFiles: It announces more files, or a larger directory.
    """
    with open(path, "rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - _MAX_COMMENT_BYTES - _END.size - _END64_LOCATOR.size))
        tail = handle.read()
        at = tail.rfind(_END_MARK)
        if at < 0 or at + _END.size > len(tail):
            raise BadArchive("This is not a zip file that can be read: its end is missing.")
        fields = _END.unpack_from(tail, at)
        files, directory_bytes = fields[4], fields[5]
        locator_at = at - _END64_LOCATOR.size
        if locator_at >= 0 and tail.startswith(_END64_LOCATOR_MARK, locator_at):
            _, _, offset, _ = _END64_LOCATOR.unpack_from(tail, locator_at)
            handle.seek(min(offset, size))
            record = handle.read(_END64.size)
            if len(record) == _END64.size and record.startswith(_END64_MARK):
                files, directory_bytes = _END64.unpack(record)[7:9]
    if files > max_files or directory_bytes > max_files * _MAX_DIRECTORY_BYTES_PER_FILE:
        raise TooManyFiles(f"A zip file may hold {max_files:,} files.")
