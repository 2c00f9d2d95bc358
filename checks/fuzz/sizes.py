"""Rewriting of the size that an image's header announces."""

import re
import struct
import zlib
from typing import Final

_MIN_BYTES: Final = 40  # of a file that has all of the fields below

# Start of frame: baseline, extended and progressive, by Huffman codes.
_FRAMES: Final = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2")


def announce(data: bytes, width: int, height: int) -> bytes:
    """Return the file with another size in its header, truncated to the field's width.

    Checksums are updated. A file that is too short, or no image, is returned unchanged.
    """
    found = bytearray(data)
    if len(data) < _MIN_BYTES:
        return data
    if data[:4] == b"\x89PNG":
        struct.pack_into(">II", found, 16, width, height)
        struct.pack_into(">I", found, 29, zlib.crc32(found[12:29]))
    elif data[:3] == b"GIF":
        struct.pack_into("<HH", found, 6, width & 0xFFFF, height & 0xFFFF)
        at = data.find(b"\x2c\0\0\0\0")  # the first frame, at the upper left
        if 0 < at < len(data) - 9:
            struct.pack_into("<HH", found, at + 5, width & 0xFFFF, height & 0xFFFF)
    elif data[:2] == b"BM":
        struct.pack_into("<II", found, 18, width, height)
    elif data[:2] == b"\xff\xd8":
        at = max(data.find(marker) for marker in _FRAMES)
        if 0 < at < len(data) - 9:
            struct.pack_into(">HH", found, at + 5, height & 0xFFFF, width & 0xFFFF)
    elif data[:4] == b"RIFF":
        _announce_webp(found, width, height)
    elif data[:4] == b"II*\0":
        _announce_tiff(found, width, height)
    elif data[4:8] == b"ftyp":
        for at in (match.end() for match in re.finditer(b"ispe", data)):
            if at + 12 <= len(data):
                struct.pack_into(">II", found, at + 4, width, height)
    return bytes(found)


def _announce_webp(data: bytearray, width: int, height: int) -> None:
    kind = data[12:16]
    if kind == b"VP8X":
        data[24:27] = ((width - 1) & 0xFFFFFF).to_bytes(3, "little")
        data[27:30] = ((height - 1) & 0xFFFFFF).to_bytes(3, "little")
    elif kind == b"VP8 ":
        struct.pack_into("<HH", data, 26, width & 0x3FFF, height & 0x3FFF)
    elif kind == b"VP8L":
        packed = ((width - 1) & 0x3FFF) | ((height - 1) & 0x3FFF) << 14
        struct.pack_into("<I", data, 21, packed)


def _announce_tiff(data: bytearray, width: int, height: int) -> None:
    (at,) = struct.unpack_from("<I", data, 4)
    if at + 2 > len(data):
        return
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in (256, 257):
            struct.pack_into("<HII", data, entry + 2, 4, 1, width if tag == 256 else height)
