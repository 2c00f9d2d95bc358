"""Names of the entries of a zip file: their encoding and their separators.

A name without the UTF-8 flag has the encoding of the system that packed it, which the format does
not record. Decoded as cp437, as the specification demands, a Shift-JIS name becomes different
text, and bytes of its characters become separators.
"""

import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import Final
from zipfile import ZipInfo

from models.text import normalize_path

_UTF8_FLAG: Final = 0x800  # APPNOTE.TXT, 4.4.4: bit 11
_UNICODE_PATH: Final = 0x7075  # APPNOTE.TXT, 4.6.9: Info-ZIP Unicode Path Extra Field
_WINDOWS_SYSTEMS: Final = (0, 10, 14)  # APPNOTE.TXT, 4.4.2: FAT, NTFS, VFAT
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_DRIVE: Final = re.compile(r"[A-Za-z]:(?=/)")


def entry_names(entries: Sequence[ZipInfo]) -> Iterator[tuple[str, str | None]]:
    """Yield each entry's name as packed, and as a relative path.

    Bytes that are not UTF-8 become lone surrogates, as in names of files. The path is None for an
    entry that leads out of the archive.
    """
    names = [_decode(entry) for entry in entries]
    nested = [name for name in names if "/" in name or "\\" in name]
    # Programs on Windows write backslashes against the format's specification, and some pack as if
    # on Unix, where a backslash is a character like any other.
    all_backslashes = all("\\" in name for name in nested)
    for entry, name in zip(entries, names, strict=True):
        backslashes = all_backslashes or entry.create_system in _WINDOWS_SYSTEMS
        plain = name.replace("\\", "/") if backslashes and name.isprintable() else name
        try:
            yield name, normalize_path(_DRIVE.sub("", plain, count=1))
        except ValueError:
            yield name, None


def _decode(entry: ZipInfo) -> str:
    """Return an entry's name as its program meant it."""
    # zipfile has decoded it as UTF-8 or, without the flag, as cp437, which loses nothing.
    name = entry.orig_filename.split("\0")[0]
    if entry.flag_bits & _UTF8_FLAG or name.isascii():
        return name
    data = name.encode("cp437")
    if (unicode_path := _unicode_path(entry.extra, data)) is not None:
        return unicode_path
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return name if _is_western(name) else data.decode("utf-8", "surrogateescape")


def _is_western(name: str) -> bool:
    """Return True for words of Latin letters, most of them ASCII, as of Western languages.

    Names in a double-byte encoding have a letter, sign or line in place of every other byte.
    """
    return all(
        char.isascii() or unicodedata.name(char, "").startswith("LATIN ") for char in name
    ) and all(
        2 * sum(not char.isascii() for char in word) < len(word) for word in _LETTERS.findall(name)
    )


def _unicode_path(extra: bytes, name: bytes) -> str | None:
    """Return the UTF-8 name of an extra field if it belongs to this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
            (crc,) = struct.unpack_from("<I", field, 1)
            try:
                return field[5:].decode("utf-8") if crc == zlib.crc32(name) else None
            except UnicodeDecodeError:
                return None
    return None
