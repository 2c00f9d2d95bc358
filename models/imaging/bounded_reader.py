"""Bounds on the work that a small file can cause in a decoder.

A decoder that runs in a thread cannot be stopped from outside, but it reads the file all the time:
`BoundedReader` ends it from there. The work of one library call between two reads is bounded by
the number of pixels, and by counting JPEG scans and TIFF parts before decoding.
"""

import io
import re
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from models.errors import ImageTooCostly
from models.imaging.limits import MAX_HEADER_READS, MAX_JPEG_SCANS, MAX_TIFF_PARTS

# ITU-T T.81, B.1.1: start of scan, end of image, and the markers without a segment.
_SCAN: Final = b"\xff\xda"
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_END: Final = 0xD9

# TIFF 6.0: tags with one value per strip or tile.
_OFFSET_TAGS: Final = (273, 324)
# Types whose values Pillow keeps as bytes; of any other type it makes one number per value.
_BYTE_TYPES: Final = (1, 2, 7)
_VALUE_FORMATS: Final = {3: "H", 16: "Q"}  # SHORT and LONG8; all others that matter are LONG
_BIG_TIFF: Final = 43  # BigTIFF's version number, at the index where Pillow looks


class BoundedReader(io.BytesIO):
    """A file in memory whose reads raise once the reading thread has used up its processor time.

    The clock starts when the reader is made. While the header is read, the number of reads has a
    limit, too, which does not depend on the machine.
    """

    def __init__(self, data: bytes, max_s: float) -> None:
        """Start the clock.

        Args:
            data: Content of the file.
            max_s: Processor seconds after which reads raise.
        """
        super().__init__(data)
        self._max_s = max_s
        self._end = time.thread_time() + max_s
        self._reads = 0
        self._max_reads: int | None = MAX_HEADER_READS

    def replaced(self, data: bytes) -> Self:
        """Return a reader of other content, on the same clock and without a limit on reads."""
        reader = type(self)(data, self._max_s)
        reader._end = self._end
        reader.finish_header()
        return reader

    def finish_header(self) -> None:
        """Lift the limit on the number of reads."""
        self._max_reads = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as from any file.

        Raises:
            ImageTooCostly: The time is used up, or the header has too many parts.
        """
        self._reads += 1
        if self._max_reads is not None and self._reads > self._max_reads:
            raise ImageTooCostly("The picture's header has more parts than are read.")
        if time.thread_time() > self._end:
            raise ImageTooCostly(f"Decoding takes longer than {self._max_s:g} s.")
        return super().read(size)


def check_scans(data: bytes) -> None:
    """Raise if a JPEG has more than `MAX_JPEG_SCANS`.

    Raises:
        ImageTooCostly: It has more.
    """
    # The fast count includes the scans of an embedded thumbnail.
    if data.count(_SCAN) > MAX_JPEG_SCANS and _scans(data) > MAX_JPEG_SCANS:
        raise ImageTooCostly(f"A JPEG picture may have {MAX_JPEG_SCANS} scans.")


def check_tiff_parts(data: bytes) -> None:
    """Raise if a TIFF has more than `MAX_TIFF_PARTS` strips, tiles or values.

    Their list alone fills memory.

    Raises:
        ImageTooCostly: It has more.
    """
    if data[:2] in (b"II", b"MM") and any(
        # More values than the file has bytes: a broken file, which the decoder refuses.
        (entry.tag in _OFFSET_TAGS or (entry.type not in _BYTE_TYPES and entry.values <= len(data)))
        and entry.values > MAX_TIFF_PARTS
        for entry in tiff_entries(data)
    ):
        raise ImageTooCostly(
            f"A TIFF picture may have {MAX_TIFF_PARTS:,} strips, tiles or numbers."
        )


def has_one_scan(data: bytes, end: int, components: int) -> bool:
    """Return True if the first scan of a sequential JPEG has all components.

    Args:
        data: The file.
        end: Offset of the end of the first scan's header.
        components: Number of the picture's components, 1 to 4.
    """
    header = _SCAN + (6 + 2 * components).to_bytes(2) + bytes([components])
    begin = end - len(header) - 2 * components - 3
    return begin >= 0 and data.startswith(header, begin)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and start of content of a JPEG's segments, up to its end marker or a break."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.start() + 1], found.end()
        if marker == _END:
            break
        yield marker, at
        at += int.from_bytes(data[at : at + 2])  # a segment's length counts itself


def _scans(data: bytes) -> int:
    """Count the scans of the JPEG at the start of a file, up to where it breaks."""
    return sum(marker == _SCAN[1] for marker, _ in jpeg_segments(data))


class TiffEntry(NamedTuple):
    """An entry of a TIFF directory: tag, type, number of values, the first value and its offset."""

    tag: int
    type: int
    values: int
    value: int
    offset: int


def tiff_entries(data: bytes | bytearray) -> Iterator[TiffEntry]:
    """Yield the entries of a TIFF's first directory, at most `MAX_HEADER_READS`."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:3] == bytes([_BIG_TIFF])
    entry = struct.Struct(order + ("HHQ" if big else "HHI"))
    word = 8 if big else 4
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, word)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at += 8 if big else 2
        for index in range(min(entries, MAX_HEADER_READS)):
            begin = at + index * (entry.size + word)
            tag, kind, values = entry.unpack_from(data, begin)
            format = order + _VALUE_FORMATS.get(kind, "I")
            offset = begin + entry.size
            (value,) = struct.unpack_from(format, data, offset)
            yield TiffEntry(tag, kind, values, value, offset)
    except (struct.error, OverflowError):  # cut short, which the decoder reports
        return
