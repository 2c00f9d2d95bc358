"""Repair of JPEG files whose only fault is a missing end-of-image marker (EOI, T.81, B.2.1).

libjpeg waits for the two bytes, and depending on size and kind of the file Pillow then decodes it
or calls it cut short. The bytes do not show if only the marker is missing, but the pixels do: they
must not depend on the bytes that follow.
"""

from typing import Final

from PIL import Image, ImageChops, JpegImagePlugin

from models.imaging.bounded_reader import BoundedReader, jpeg_segments

END_MARKER: Final = b"\xff\xd9"
_SCAN: Final = 0xDA
_COEFFICIENTS: Final = 64
# Bit patterns appended in place of missing data: decoded as Huffman codes they give different
# pixels, which shows that data is missing.
_FILLERS: Final = (b"\x5a" * 64, b"\0" * 64, b"\xa5" * 64, b"\xff\0" * 64)


def has_end_marker(image: Image.Image) -> bool:
    """Return False for an opened JPEG without an end marker behind its first scan's header.

    Other formats need none. In MPO the first picture ends where the next one begins.
    """
    reader = image.fp if isinstance(image, JpegImagePlugin.JpegImageFile) else None
    if image.format != "JPEG" or not isinstance(reader, BoundedReader):
        return True
    data = reader.getvalue()
    return data.endswith(END_MARKER) or data.rfind(END_MARKER, reader.tell()) >= 0


def append_end_marker(image: Image.Image) -> Image.Image:
    """Append the missing end marker to an opened JPEG and return it.

    The picture is decoded at its full size, two to four times, to check it.

    Raises:
        OSError: More than the marker is missing.
    """
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    reader = image.fp
    assert isinstance(reader, BoundedReader)
    data = reader.getvalue().rstrip(END_MARKER[:1])
    if not _has_all_bits(data, image.layers):
        raise OSError("image file is truncated")
    first: Image.Image | None = None
    for filler in _FILLERS:
        other = _opened(reader.replaced(data + filler + END_MARKER))
        other.load()
        if first is None:
            first = other
        elif ImageChops.difference(first, other).getbbox() is not None:
            raise OSError("image file is truncated")
    return _opened(reader.replaced(data + END_MARKER))


def _opened(reader: BoundedReader) -> Image.Image:
    return Image.open(reader, formats=("JPEG",))


def _has_all_bits(data: bytes, components: int) -> bool:
    """Return True if the scans of a JPEG encode every bit of every coefficient (G.1.1.1)."""
    missing_bits: dict[int, bytearray] = {}
    for marker, at in jpeg_segments(data):
        if marker != _SCAN or at + 2 >= len(data):
            continue
        table = at + 3 + 2 * data[at + 2]
        if table + 3 > len(data):
            return False
        first, last, low_bit = data[table], data[table + 1], data[table + 2] & 15
        for component in data[at + 3 : table : 2]:
            bits = missing_bits.setdefault(component, bytearray(b"\xff" * _COEFFICIENTS))
            bits[first : last + 1] = bytes([low_bit]) * (last + 1 - first)
    return len(missing_bits) == components and not any(any(b) for b in missing_bits.values())
