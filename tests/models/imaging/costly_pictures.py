"""Small files that cost a decoder much work or memory."""

import io
import struct
import zlib

from PIL import Image


def many_scans(count: int) -> bytes:
    """Return a progressive JPEG of `count` scans, the last one repeated."""
    file = io.BytesIO()
    Image.new("L", (16, 16), 100).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * (count - data.count(b"\xff\xda")) + data[-2:]


def many_segments(count: int) -> bytes:
    """Return a JPEG with `count` comments."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + b"\xff\xfe\x00\x04ab" * count + data[2:]


def many_chunks(count: int) -> bytes:
    """Return a PNG with `count` private chunks."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    data, kind = file.getvalue(), b"prVt"
    chunk = struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))
    return data[:33] + chunk * count + data[33:]


def tiff(*, tile: int = 16, offsets: int = 4, big: bool = False) -> bytes:
    """Return a grey TIFF of 32 x 32 pixels in tiles."""
    head = 16 if big else 8
    pixels = bytes([100]) * 256
    pointers = struct.pack("<I", head) * offsets
    word = "Q" if big else "I"
    entries = [
        (256, 4, 1, 32), (257, 4, 1, 32), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (277, 3, 1, 1), (322, 4, 1, tile), (323, 4, 1, tile),
        (324, 4, offsets, head + len(pixels)), (325, 4, offsets, head + len(pixels)),
    ]  # fmt: skip
    directory = head + len(pixels) + len(pointers)
    if big:
        start = b"II+\0" + struct.pack("<HHQ", 8, 0, directory)
    else:
        start = b"II*\0" + struct.pack("<I", directory)
    listed = struct.pack("<" + ("Q" if big else "H"), len(entries))
    listed += b"".join(struct.pack(f"<HH{word}{word}", *entry) for entry in entries)
    return start + pixels + pointers + listed + bytes(8)


def many_runs(count: int) -> bytes:
    """Return a BMP of `count` runs of one pixel, which Pillow reads in Python."""
    edge = 4000
    begin = 14 + 40 + 1024
    size = begin + 2 * count
    head = struct.pack("<IiiHHIIiiII", 40, edge, edge, 1, 8, 1, 2 * count, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, begin) + head + bytes(1024) + b"\1\5" * count
