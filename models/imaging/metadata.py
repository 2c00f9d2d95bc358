"""Removal of metadata that does not affect pixels, so that no broken metadata refuses a picture.

A viewer shows a picture whose comment has a wrong checksum, or whose profile cannot be read. Pillow
refuses some of them. Transparency, colour profile and orientation are kept: pixels depend on them.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Final

from models.errors import ImageTooCostly
from models.imaging.limits import MAX_HEADER_READS

# Pillow inflates at most this much of a chunk, and refuses a chunk that has more.
_MAX_INFLATED_BYTES: Final = 2**20
# IDAT chunks have some kB each. Bytes behind this many chunks are kept as they are.
_MAX_CHUNKS: Final = 200_000
_ANCILLARY: Final = 0x20  # bit of a chunk type's first letter: PNG, section 5.4
_MIN_TRNS_BYTES: Final = {0: 2, 2: 6}  # by colour type: grey, RGB
_EXIF_KEYWORD: Final = b"Raw profile type exif"  # ImageMagick's chunk from before eXIf existed
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp"

_Span = tuple[int, int]  # start and end in the file


def strip_png_metadata(data: bytes) -> bytes:
    """Return a PNG without the chunks that do not affect pixels; `data` itself if it has none.

    An ancillary chunk that is kept counts as missing if its checksum is wrong, as in libpng. A
    chunk with the orientation is found behind the pixels, too.

    Raises:
        ImageTooCostly: It has too many chunks beside the pixels.
    """
    if data[12:16] != b"IHDR":
        return data
    before: list[_Span] = [(0, 8)]
    pixels: list[_Span] = []
    seen: set[bytes] = set()
    others, at, is_whole = 0, 8, False
    for _ in range(_MAX_CHUNKS):
        kind = data[at + 4 : at + 8]
        if len(kind) < 4 or not kind.isalpha():
            break
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if kind in (b"IDAT", b"IEND") or not kind[0] & _ANCILLARY:
            (pixels if pixels or kind == b"IDAT" else before).append((at, end))
        elif kind not in seen and _affects_pixels(data, at, behind_pixels=bool(pixels)):
            seen.add(kind)  # the first one counts, broken or not: each takes time to unpack
            if _is_intact(data, at, end):
                before.append((at, end))
        if kind != b"IDAT":
            others += 1
            if others > MAX_HEADER_READS:
                raise ImageTooCostly("The picture's header has more parts than are read.")
        at = end
        if kind == b"IEND" or at >= len(data):
            is_whole = True
            break
    else:
        pixels.append((at, len(data)))
    if not pixels:  # broken before them: the decoder reports it
        return data
    spans = _merged([*before, *pixels])
    if is_whole and spans == [(0, at)]:
        return data
    return b"".join(data[begin:end] for begin, end in spans)


def strip_jpeg_metadata(data: bytes) -> bytes:
    """Return a JPEG without the segments before its first scan that do not affect pixels."""
    parts, at = [data[:2]], 2
    for _ in range(MAX_HEADER_READS):
        marker = data[at + 1 : at + 2]
        if data[at : at + 1] != b"\xff" or marker in (b"", b"\xda"):
            break
        if marker == b"\xff":  # filler
            at += 1
            continue
        end = at + 2
        if marker != b"\x01" and not b"\xd0" <= marker <= b"\xd8":
            end += int.from_bytes(data[at + 2 : at + 4])
        if not (b"\xe0" <= marker <= b"\xef" or marker == b"\xfe") or (
            # These define the colours and the orientation.
            data.startswith((b"\xff\xe1", b"\xff\xe0", b"\xff\xee"), at)
            and (data.startswith((b"Exif\0\0", b"JFIF\0", b"Adobe"), at + 4))
            and end - at >= 16
        ):
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


# RFC 9649, section 2.7: chunks of pixels; and metadata with its flag in VP8X.
_WEBP_PIXELS: Final = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_METADATA: Final = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_WEBP_FLAGS_AT: Final = 8  # behind the name and length of VP8X
_WEBP_PIXEL_FLAGS: Final = 0x12  # alpha, animation


def strip_webp_metadata(data: bytes) -> bytes:
    """Return a WebP without metadata and later frames that are cut short, of its real length."""
    parts: list[bytes] = []
    flags, at, has_frame = 0, 12, False
    for _ in range(MAX_HEADER_READS):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size
        is_needed = kind in _WEBP_PIXELS and not (kind == b"ANMF" and has_frame)
        if is_needed or (kind in (*_WEBP_METADATA, b"ANMF") and end <= len(data)):
            has_frame |= kind == b"ANMF"
            flags |= _WEBP_METADATA.get(kind, 0)
            parts.append(data[at:end] + bytes(size % 2))
        at = end + size % 2
        if at >= len(data):
            break
    body = bytearray(b"".join(parts))
    if body.startswith(b"VP8X") and len(body) > _WEBP_FLAGS_AT:
        body[_WEBP_FLAGS_AT] = body[_WEBP_FLAGS_AT] & _WEBP_PIXEL_FLAGS | flags
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _affects_pixels(data: bytes, at: int, *, behind_pixels: bool) -> bool:
    """Return True for an ancillary chunk that pixels or the orientation may depend on."""
    kind, content = data[at + 4 : at + 8], at + 8
    match kind:
        case b"tRNS" | b"iCCP":
            return not behind_pixels
        case b"tEXt" | b"zTXt":
            return data.startswith(_EXIF_KEYWORD + b"\0", content)
        case b"iTXt":
            return data.startswith(_XMP_KEYWORD + b"\0", content)
        case _:
            return kind == b"eXIf"


def _is_intact(data: bytes, at: int, end: int) -> bool:
    """Return True for a complete chunk that Pillow can read."""
    kind, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
    checksum = zlib.crc32(content, zlib.crc32(kind)).to_bytes(4)
    if end > len(data) or data[end - 4 : end] != checksum:
        return False
    _, separator, rest = content.partition(b"\0")
    match kind:
        case b"tRNS":
            return len(content) >= _MIN_TRNS_BYTES.get(data[25], 0)
        case b"iCCP" | b"zTXt":
            return separator == b"\0" and _inflates(rest)
        case b"iTXt":
            is_plain, text = rest[:1] == b"\0", rest[1:2] + rest[2:].split(b"\0", 2)[-1]
            return is_plain or _inflates(text)
        case _:
            return True


def _inflates(compressed: bytes) -> bool:
    """Return True if a method byte of 0 and zlib data inflate within the limit."""
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(compressed[1:], _MAX_INFLATED_BYTES)
    except zlib.error:
        return False
    return compressed[:1] == b"\0" and not inflater.unconsumed_tail


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """Join spans that follow one another."""
    merged: list[_Span] = []
    for begin, end in spans:
        if merged and merged[-1][1] == begin:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged
