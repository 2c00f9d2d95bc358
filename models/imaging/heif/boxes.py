"""Boxes of a HEIC or AVIF file: its items, their properties, references and data.

ISO/IEC 14496-12 defines the boxes, 23008-12 (HEIF) the items. Pixels are not decoded here.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from models.errors import ImageTooCostly
from models.imaging.limits import MAX_HEADER_READS

Data = bytes | bytearray

_FULL_BOX_BYTES: Final = 4  # version and flags
_BRANDS_AT: Final = 16
_MAX_BRAND_BYTES: Final = 256


class BrokenBoxes(ValueError):
    """A box is cut short, missing or contradicts another."""


class Box(NamedTuple):
    """Type of a box, and start and end of its content in the file."""

    kind: bytes
    begin: int
    end: int


@dataclass
class Items:
    """Items of a file.

    Attributes:
        primary: ID of the item to show.
        kinds: Type of each item, by its ID.
        properties: Property boxes of each item, by its ID.
        references: IDs that an item refers to, by the reference's type and the item's ID.
        extents: Parts of the file that hold an item's data, by its ID.
    """

    primary: int
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: dict[int, list[Box]] = field(default_factory=dict)
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def of(self, item: int, kind: bytes) -> Box | None:
        """Return the only property of a kind that an item has, None without one."""
        found = [box for box in self.properties.get(item, ()) if box.kind == kind]
        if len(found) > 1:
            raise BrokenBoxes(f"an item has several properties {_name(kind)}")
        return found[0] if found else None

    def content(self, data: Data, item: int) -> bytes:
        """Return an item's data."""
        return b"".join(data[begin:end] for begin, end in self.extents.get(item, ()))

    def size(self, data: Data, item: int) -> tuple[int, int]:
        """Return width and height of an item, in pixels."""
        box = self.of(item, b"ispe")
        if box is None:
            raise BrokenBoxes("a picture has no size")
        return _size_in(data, box)


def brands(data: Data) -> list[bytes]:
    """Return the brands of an ISO media file, the major one first; empty for another file."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4]), _MAX_BRAND_BYTES)
    return [bytes(data[at : at + 4]) for at in (8, *range(_BRANDS_AT, end, 4))]


def primary_size(data: Data) -> tuple[int, int] | None:
    """Return width and height of the picture to show, None if they are not found."""
    parts = _Parts()
    try:
        meta = _meta(data, parts)
        boxes = _properties(data, meta, parts)[_primary(data, meta)]
    except (BrokenBoxes, ImageTooCostly, KeyError):
        return None
    return next((_size_in(data, box) for box in boxes if box.kind == b"ispe"), None)


def read_items(data: Data) -> Items:
    """Read the items of a file.

    Raises:
        BrokenBoxes: A box is cut short, missing, or there are two where one is allowed.
        ImageTooCostly: There are more items, properties or references than are read.
    """
    parts = _Parts()
    meta = _meta(data, parts)
    items = Items(_primary(data, meta), properties=_properties(data, meta, parts))
    _read_kinds(data, meta, items, parts)
    _read_references(data, meta, items, parts)
    _read_extents(data, meta, items, parts)
    return items


class _Parts:
    """Counter of a header's parts, with a limit."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int = 1) -> None:
        self._count += count
        if self._count > MAX_HEADER_READS:
            raise ImageTooCostly("The picture's header has more parts than are read.")


class _Fields:
    """Big-endian fields of a box, read one behind the other."""

    def __init__(self, data: Data, box: Box) -> None:
        self._data, self.at, self._end = data, box.begin, box.end

    def number(self, size: int) -> int:
        """Return the next unsigned integer of `size` bytes."""
        begin, self.at = self.at, self.at + size
        if self.at > self._end:
            raise BrokenBoxes("a box is cut short")
        return int.from_bytes(self._data[begin : self.at])

    def raw(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        begin = self.at
        self.number(size)
        return bytes(self._data[begin : self.at])


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "replace")


def _boxes(data: Data, begin: int, end: int, parts: _Parts) -> Iterator[Box]:
    """Yield the boxes in a part of the file."""
    while begin + 8 <= end:
        parts.add()
        size, kind = int.from_bytes(data[begin : begin + 4]), bytes(data[begin + 4 : begin + 8])
        content = begin + 8
        if size == 1:  # a 64-bit size follows
            size, content = int.from_bytes(data[content : content + 8]), content + 8
        elif size == 0:  # up to the end
            size = end - begin
        if size < content - begin or begin + size > end:
            raise BrokenBoxes(f"the box {_name(kind)} is cut short")
        yield Box(kind, content, begin + size)
        begin += size


def _meta(data: Data, parts: _Parts) -> dict[bytes, Box]:
    """Return the boxes of a file's only box `meta`, by type."""
    found: list[Box] = []
    with contextlib.suppress(BrokenBoxes):  # some cameras append data that is not a box
        for box in _boxes(data, 0, len(data), parts):
            if box.kind == b"meta":
                found.append(box)
    if len(found) != 1:
        raise BrokenBoxes("there is no list of pictures" if not found else "two lists of pictures")
    boxes: dict[bytes, Box] = {}
    for box in _boxes(data, found[0].begin + _FULL_BOX_BYTES, found[0].end, parts):
        if boxes.setdefault(box.kind, box) is not box:
            raise BrokenBoxes(f"there are two boxes {_name(box.kind)}")
    return boxes


def _box(meta: dict[bytes, Box], kind: bytes) -> Box:
    if kind not in meta:
        raise BrokenBoxes(f"there is no box {_name(kind)}")
    return meta[kind]


def _full_box(data: Data, box: Box) -> tuple[_Fields, int, int]:
    """Return the fields of a full box behind its version and flags, and these two."""
    fields = _Fields(data, box)
    return fields, fields.number(1), fields.number(3)


def _primary(data: Data, meta: dict[bytes, Box]) -> int:
    fields, version, _ = _full_box(data, _box(meta, b"pitm"))
    return fields.number(4 if version else 2)


def _properties(data: Data, meta: dict[bytes, Box], parts: _Parts) -> dict[int, list[Box]]:
    """Return the properties of each item, by its ID."""
    outer = _box(meta, b"iprp")
    inner = list(_boxes(data, outer.begin, outer.end, parts))
    containers = [box for box in inner if box.kind == b"ipco"]
    if len(containers) != 1:
        raise BrokenBoxes("there is no list of properties")
    known = list(_boxes(data, containers[0].begin, containers[0].end, parts))
    found: dict[int, list[Box]] = {}
    for box in inner:
        if box.kind != b"ipma":
            continue
        fields, version, flags = _full_box(data, box)
        for _ in range(fields.number(4)):
            item, count = fields.number(4 if version else 2), fields.number(1)
            parts.add(1 + count)
            if item in found:
                raise BrokenBoxes("an item has two lists of properties")
            indices = [fields.number(2 if flags & 1 else 1) for _ in range(count)]
            mask = 0x7FFF if flags & 1 else 0x7F  # the first bit marks an essential one
            numbers = [index & mask for index in indices]
            if any(number > len(known) for number in numbers):
                raise BrokenBoxes("a property is missing")
            found[item] = [known[number - 1] for number in numbers if number]
    return found


def _size_in(data: Data, box: Box) -> tuple[int, int]:
    fields, _, _ = _full_box(data, box)
    return fields.number(4), fields.number(4)


def _read_kinds(data: Data, meta: dict[bytes, Box], items: Items, parts: _Parts) -> None:
    box = _box(meta, b"iinf")
    fields, version, _ = _full_box(data, box)
    fields.number(4 if version else 2)
    for entry in _boxes(data, fields.at, box.end, parts):
        if entry.kind != b"infe":
            continue
        of_entry, version, _ = _full_box(data, entry)
        if version < 2:
            raise BrokenBoxes("an item has no type")
        item = of_entry.number(2 if version == 2 else 4)
        of_entry.number(2)
        if item in items.kinds:
            raise BrokenBoxes("two items have the same number")
        items.kinds[item] = of_entry.raw(4)


def _read_references(data: Data, meta: dict[bytes, Box], items: Items, parts: _Parts) -> None:
    box = meta.get(b"iref")
    if box is None:
        return
    fields, version, _ = _full_box(data, box)
    size = 4 if version else 2
    found = defaultdict(list, items.references)
    for reference in _boxes(data, fields.at, box.end, parts):
        of_reference = _Fields(data, reference)
        item, count = of_reference.number(size), of_reference.number(2)
        parts.add(count)
        found[reference.kind, item] += (of_reference.number(size) for _ in range(count))
    items.references = dict(found)


def _read_extents(data: Data, meta: dict[bytes, Box], items: Items, parts: _Parts) -> None:
    fields, version, _ = _full_box(data, _box(meta, b"iloc"))
    sizes = fields.number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    number: Callable[[int], int] = fields.number
    for _ in range(number(4 if version == 2 else 2)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        start = number(base_bytes)
        if item in items.extents or method > 1:
            raise BrokenBoxes("an item's data is in two places, or in none")
        inner = _box(meta, b"idat") if method == 1 else Box(b"file", 0, len(data))
        extents = items.extents[item] = []
        count = number(2)
        parts.add(1 + count)
        for _ in range(count):
            number(index_bytes if version else 0)
            begin = inner.begin + start + number(offset_bytes)
            length = number(length_bytes)
            end = begin + length if length else inner.end
            if end > inner.end:
                raise BrokenBoxes("an item's data is cut short")
            extents.append((begin, end))
