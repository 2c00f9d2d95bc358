"""HEIC and AVIF files: encoded on the spot, and put together box by box."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pillow_heif
from PIL import Image

from models.imaging.heif.boxes import read_items

pillow_heif.register_heif_opener()  # under another name than the product's reader


def heic(image: Image.Image, *, orientation: int = 1, **options: Any) -> bytes:
    """Return an image as HEIC, encoded by x265."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "HEIF", **{"quality": 90, "exif": exif.tobytes(), **options})
    return file.getvalue()


@dataclass
class Item:
    """One item of a file: its type, property boxes and data."""

    kind: bytes
    properties: Sequence[bytes]
    content: bytes


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, content: bytes, *, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + content)


def size_box(width: int, height: int) -> bytes:
    return full_box(b"ispe", struct.pack(">II", width, height))


def coded(file: bytes, size: tuple[int, int] | None = None) -> Item:
    """Return the primary item of an encoded file, perhaps announcing another size."""
    items = read_items(file)
    properties = [
        size_box(*size) if size and each.kind == b"ispe" else file[each.begin - 8 : each.end]
        for each in items.properties[items.primary]
    ]
    kind = items.kinds[items.primary]
    return Item(kind, properties, items.content(file, items.primary))


def grid(rows: int, columns: int, width: int, height: int) -> Item:
    content = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    return Item(b"grid", [size_box(width, height)], content)


def put_together(
    items: Sequence[Item],
    references: Sequence[tuple[bytes, int, Sequence[int]]] = (),
    *,
    primary: int = 1,
    brand: bytes = b"heic",
    more: bytes = b"",
) -> bytes:
    """Return a file of items, which are numbered from 1.

    Args:
        items: Each with its type, properties and data.
        references: Type, number of the item that refers, and numbers of those it refers to.
        primary: Number of the item to show.
        brand: Major brand.
        more: Boxes added to `meta`.
    """
    properties = list(dict.fromkeys(each for item in items for each in item.properties))
    associations = b""
    for index, item in enumerate(items, 1):
        numbers = [properties.index(each) + 1 for each in item.properties]
        associations += struct.pack(f">HB{len(numbers)}H", index, len(numbers), *numbers)
    entries = b"".join(
        full_box(b"infe", struct.pack(">HH4sB", index, 0, item.kind, 0), version=2)
        for index, item in enumerate(items, 1)
    )
    links = b"".join(
        box(kind, struct.pack(f">HH{len(to)}H", begin, len(to), *to))
        for kind, begin, to in references
    )
    start = box(b"ftyp", brand + bytes(4) + b"mif1" + brand)

    def meta(data_at: int) -> bytes:
        places, at = b"", data_at
        for index, item in enumerate(items, 1):
            places += struct.pack(">HHHII", index, 0, 1, at, len(item.content))
            at += len(item.content)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + full_box(b"pitm", struct.pack(">H", primary))
            + full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)) + places)
            + full_box(b"iinf", struct.pack(">H", len(items)) + entries)
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties))
                + full_box(b"ipma", struct.pack(">I", len(items)) + associations, flags=1),
            )
            + (full_box(b"iref", links) if links else b"")
            + more,
        )

    head = start + meta(0)
    contents = b"".join(item.content for item in items)
    return start + meta(len(head) + 8) + box(b"mdat", contents)


def tiled(
    tile: bytes, rows: int, columns: int, size: tuple[int, int], *, brand: bytes = b"heic"
) -> bytes:
    """Return a grid in which a copy of one encoded tile stands everywhere."""
    count = rows * columns
    return put_together(
        [grid(rows, columns, *size), *[coded(tile)] * count],
        [(b"dimg", 1, range(2, 2 + count))],
        brand=brand,
    )
