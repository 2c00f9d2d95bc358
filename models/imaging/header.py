"""Pixel count of an encoded picture, in microseconds and without a decoder.

It serves to estimate load before a picture is decoded. `models.imaging.open` checks the picture
itself against the limits, by Pillow's reading of the same header.

The package `imagesize` does the same, but without bounds (1.7 s for a JPEG of a million empty
segments), some 10 times slower except for TIFF, and wrong for the oldest BMP header.
"""

import itertools
import struct
from collections.abc import Collection
from typing import Final

from models.imaging.bounded_reader import tiff_entries
from models.imaging.heif.boxes import primary_size

# ITU-T T.81, table B.1: start-of-frame markers except the hierarchical ones.
_FRAMES: Final = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
# All start-of-frame markers, and that of JPEG-LS (T.87).
ALL_JPEG_FRAMES: Final = (*sorted({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}), 0xF7)
"""Markers of every kind of frame, supported or not."""
_MARKERS_WITHOUT_LENGTH: Final = (0x01, 0xFF, *range(0xD0, 0xD9))
_MAX_SEGMENTS: Final = 1000
# TIFF 6.0: ImageWidth and ImageLength, among the first entries, which are sorted by tag.
_SIZE_TAGS: Final = (256, 257)
_MAX_ENTRIES: Final = 100


def header_pixels(data: bytes | bytearray) -> int | None:
    """Return width x height from a file's header, None if it is not found."""
    try:
        size = _size(data)
    except (struct.error, IndexError):  # cut short
        return None
    return size and abs(size[0] * size[1])


def jpeg_frame(data: bytes | bytearray, markers: Collection[int]) -> int | None:
    """Return the offset of a JPEG's first frame header with one of the markers; None without."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 1 >= len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in markers:
            return at
        at += 1 if marker == 0xFF else 2
        if marker not in _MARKERS_WITHOUT_LENGTH:
            at += int.from_bytes(data[at : at + 2])
    return None


def _size(data: bytes | bytearray) -> tuple[int, int] | None:
    for begin, read in _READERS.items():
        if data.startswith(begin):
            return read(data)
    return primary_size(data) if data[4:8] == b"ftyp" else None


def _jpeg(data: bytes | bytearray) -> tuple[int, int] | None:
    at = jpeg_frame(data, _FRAMES)
    return None if at is None else struct.unpack_from(">HH", data, at + 5)


def _webp(data: bytes | bytearray) -> tuple[int, int] | None:
    # RFC 9649, sections 2.5 to 2.7.
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    return None


def _png(data: bytes | bytearray) -> tuple[int, int]:
    return struct.unpack_from(">II", data, 16)


def _gif(data: bytes | bytearray) -> tuple[int, int]:
    return struct.unpack_from("<HH", data, 6)


def _bmp(data: bytes | bytearray) -> tuple[int, int]:
    # The oldest header, of 12 bytes, has 16-bit sizes; negative heights stand for upside down.
    return struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)


def _tiff(data: bytes | bytearray) -> tuple[int, int] | None:
    entries = itertools.islice(tiff_entries(data), _MAX_ENTRIES)
    found = {entry.tag: entry.value for entry in entries if entry.tag in _SIZE_TAGS}
    return (found[256], found[257]) if len(found) == len(_SIZE_TAGS) else None


_READERS: Final = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"RIFF": _webp,
    b"GIF8": _gif,
    b"BM": _bmp,
    b"II": _tiff,
    b"MM": _tiff,
}
