"""Bounds on the work that a small file can ask of a decoder.

Decoding in a thread cannot be stopped from outside, but it asks for the file's bytes all the time:
whoever hands these out can end it. What one call into a library does between two reads is bounded
by pixels, and by counting what may repeat without end before any of it is done.
"""

import io
import re
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from models.errors import ImageTooCostly
from models.imaging.limits import MAX_HEADER_READS, MAX_PIECES, MAX_SCANS

# ITU-T T.81, B.1.1: start of scan, end of image, and the markers that stand alone in scans.
_SCAN: Final = b"\xff\xda"
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_END: Final = 0xD9

# TIFF 6.0: tags whose values are as many as there are strips or tiles.
_OFFSETS: Final = (273, 324)
# Types whose values Pillow keeps as the bytes that they are; of any other it makes a number each.
_BYTES: Final = (1, 2, 7)
_KINDS: Final = {3: "H", 16: "Q"}  # SHORT and LONG8; nothing else counts here but LONG
_BIG: Final = 43  # the number of BigTIFF, at the place where Pillow looks


class Reader(io.BytesIO):
    """A file in memory that ends its reader's work when it takes too long.

    The time is that of the processor, on the thread that reads; the clock starts when the reader
    is made. Reading the header has a bound of its own, which does not depend on the machine.
    """

    def __init__(self, data: bytes, seconds: float) -> None:
        """Hand out `data` for so many seconds."""
        super().__init__(data)
        self._seconds = seconds
        self._end = time.thread_time() + seconds
        self._reads = 0
        self._most_reads: int | None = MAX_HEADER_READS

    def header_is_read(self) -> None:
        """Go on with the clock as the only bound."""
        self._most_reads = None

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file.

        Raises:
            ImageTooCostly: It has taken too long, or the header has too many parts.
        """
        self._reads += 1
        if self._most_reads is not None and self._reads > self._most_reads:
            raise ImageTooCostly("The picture's header has more parts than are read.")
        if time.thread_time() > self._end:
            raise ImageTooCostly(f"Decoding takes longer than {self._seconds:g} s.")
        return super().read(size)


def check_scans(data: bytes) -> None:
    """Refuse a JPEG of more scans than anybody needs.

    Raises:
        ImageTooCostly: It is one.
    """
    # Those of a thumbnail within the file are counted by the first look only.
    if data.count(_SCAN) > MAX_SCANS and _scans(data) > MAX_SCANS:
        raise ImageTooCostly(f"A JPEG picture may have {MAX_SCANS} scans.")


def check_pieces(data: bytes) -> None:
    """Refuse a TIFF of so many parts that their list alone fills memory.

    Raises:
        ImageTooCostly: It is one.
    """
    if data[:2] in (b"II", b"MM") and any(
        # More values than the file has bytes are a broken file, which the decoder will say.
        (entry.tag in _OFFSETS or (entry.kind not in _BYTES and entry.values <= len(data)))
        and entry.values > MAX_PIECES
        for entry in tiff_entries(data)
    ):
        raise ImageTooCostly(f"A TIFF picture may have {MAX_PIECES:,} strips, tiles or numbers.")


def has_one_scan(data: bytes, end: int, components: int) -> bool:
    """Whether a sequential JPEG's first scan, whose header ends at `end`, has all components."""
    header = _SCAN + (6 + 2 * components).to_bytes(2) + bytes([components])
    begin = end - len(header) - 2 * components - 3
    return begin >= 0 and data.startswith(header, begin)


def _scans(data: bytes) -> int:
    """Scans of the JPEG at the start of a file, as far as it holds together."""
    scans, at = 0, 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == _END:
            break
        scans += marker == _SCAN[1]
        at += int.from_bytes(data[at : at + 2])  # a segment's length counts itself
    return scans


class TiffEntry(NamedTuple):
    """One entry of a TIFF's directory: its tag, type, number of values, and the value of one."""

    tag: int
    kind: int
    values: int
    value: int


def tiff_entries(data: bytes | bytearray) -> Iterator[TiffEntry]:
    """The entries of a TIFF's first directory."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:3] == bytes([_BIG])
    entry = struct.Struct(order + ("HHQ" if big else "HHI"))
    word = 8 if big else 4
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, word)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        for place in range(min(entries, MAX_HEADER_READS)):
            begin = at + place * (entry.size + word)
            tag, kind, count = entry.unpack_from(data, begin)
            value = struct.unpack_from(order + _KINDS.get(kind, "I"), data, begin + entry.size)[0]
            yield TiffEntry(tag, kind, count, value)
    except (struct.error, OverflowError):  # cut short, as the decoder will say
        return
