"""Files made by hand, where Pillow cannot write them."""

import struct
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import ImageCms


def png_chunk(name: bytes, content: bytes, *, wrong_bits: int = 0) -> bytes:
    """Return a PNG chunk; with `wrong_bits`, its checksum is wrong."""
    checksum = struct.pack(">I", zlib.crc32(name + content) ^ wrong_bits)
    return struct.pack(">I", len(content)) + name + content + checksum


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_frame(jpeg: bytes, **changes: int) -> bytes:
    """Return a baseline JPEG with another marker, precision or number of components."""
    data, at = bytearray(jpeg), jpeg.index(b"\xff\xc0")
    for name, value in changes.items():
        data[at + {"marker": 1, "bits": 4, "components": 9}[name]] = value
    return bytes(data)


def bmp32(
    bgra: np.ndarray,
    *,
    header_bytes: int,
    compression: int,
    masks: Sequence[int] = (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    top_down: bool = False,
) -> bytes:
    """Return a 32-bit BMP of (H, W, 4) bytes in the order of the file."""
    height, width = bgra.shape[:2]
    rows = (bgra if top_down else bgra[::-1]).tobytes()
    header = struct.pack(
        "<IiiHHIIiiII",
        header_bytes, width, -height if top_down else height, 1, 32, compression, len(rows),
        0, 0, 0, 0,
    )  # fmt: skip
    if compression:
        header += struct.pack("<4I", *masks)[: 12 if header_bytes == 40 else None]
    header = header.ljust(header_bytes, b"\0")
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header + rows


def grey_tiff(
    rows: np.ndarray,
    *,
    bits: int,
    order: Literal["<", ">"] = "<",
    photometric: int = 1,
    sample_format: int = 1,
    orientation: int = 1,
    width: int | None = None,
) -> bytes:
    """Return an uncompressed TIFF of one channel and one strip.

    Args:
        rows: (H, W) values, or bytes in which values are packed.
        bits: Of a value.
        order: "<" or ">".
        photometric: 0 for white-is-zero, 1 for black-is-zero.
        sample_format: 1 for unsigned, 2 for signed, 3 for floats.
        orientation: As in EXIF.
        width: In pixels, if values are packed.
    """
    body = rows.astype(rows.dtype.newbyteorder(order)).tobytes()
    height = len(rows)
    tags = [
        (256, 4, width or rows.shape[1]), (257, 4, height), (258, 3, bits), (259, 3, 1),
        (262, 3, photometric), (273, 4, 8), (274, 3, orientation), (277, 3, 1), (278, 4, height),
        (279, 4, len(body)), (339, 3, sample_format),
    ]  # fmt: skip
    directory = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(order + ("H" if kind == 3 else "I"), value).ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, 1) + packed
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    return start + body + directory + bytes(4)


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, *more: tuple[bytes, bytes]
) -> bytes:
    """Return a PNG file of one header, filtered rows and further chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def exchanged_profile() -> bytes:
    """Return the colour profile sRGB with red and blue exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (count,) = struct.unpack_from(">I", srgb, 128)
    tags = (struct.unpack_from(">4sII", srgb, 132 + 12 * index) for index in range(count))
    begin = {name: offset + 8 for name, offset, _ in tags}
    profile = bytearray(srgb)
    for name, other in ((b"rXYZ", b"bXYZ"), (b"bXYZ", b"rXYZ")):
        profile[begin[name] : begin[name] + 12] = srgb[begin[other] : begin[other] + 12]
    return bytes(profile)
