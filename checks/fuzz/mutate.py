"""Broken files made of whole ones, the same for the same seed."""

import random
import struct
import zlib
from collections.abc import Callable
from typing import Final

from checks.fuzz.originals import originals
from checks.fuzz.sizes import announce

_MOST_CHANGES: Final = 3
_HEADER_BYTES: Final = 96
# Where numbers of this width begin to be something else.
_EDGES: Final = {
    "B": (0, 1, 0x7F, 0x80, 0xFF),
    "H": (0, 1, 0x7FFF, 0x8000, 0xFFFF),
    "I": (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
}

Mutator = Callable[[random.Random, bytes], bytes]


def mutated(seed: int, place: int) -> tuple[str, bytes]:
    """A broken file, and what was done to which.

    Args:
        seed: Of the run.
        place: Of the file in the run.
    """
    chance = random.Random(f"{seed} {place}")
    name = chance.choice(sorted(originals()))
    data, steps = originals()[name], [name]
    for _ in range(chance.randint(1, _MOST_CHANGES)):
        mutator = chance.choice(MUTATORS)
        data = mutator(chance, data) or b"\0"
        steps.append(mutator.__name__.replace("_", " "))
    return ", ".join(steps), data


def flipped_bits(chance: random.Random, data: bytes) -> bytes:
    """A few bits anywhere."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 2, 8, 64))):
        found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    return bytes(found)


def flipped_in_header(chance: random.Random, data: bytes) -> bytes:
    """A few bits where the header is likely to be, but not in the bytes that tell the format."""
    found = bytearray(data)
    if len(found) > 12:
        for _ in range(chance.choice((1, 2, 8))):
            found[chance.randrange(8, min(len(found), _HEADER_BYTES))] ^= 1 << chance.randrange(8)
    return bytes(found)


def cut_short(chance: random.Random, data: bytes) -> bytes:
    """The beginning only."""
    return data[: chance.randrange(len(data))]


def cut_out(chance: random.Random, data: bytes) -> bytes:
    """Without a part in the middle."""
    begin, end = _range(chance, data)
    return data[:begin] + data[end:]


def doubled(chance: random.Random, data: bytes) -> bytes:
    """A part of it many times over."""
    begin, end = _range(chance, data)
    return data[:begin] + data[begin:end] * chance.choice((2, 3, 50)) + data[end:]


def blanked(chance: random.Random, data: bytes) -> bytes:
    """A part of it zero, all ones or noise."""
    begin, end = _range(chance, data)
    size = end - begin
    fill = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))
    return data[:begin] + fill + data[end:]


def extreme_number(chance: random.Random, data: bytes) -> bytes:
    """A number of one, two or four bytes that is at the end of its range."""
    found = bytearray(data)
    kind = chance.choice(sorted(_EDGES))
    packed = struct.pack(chance.choice("<>") + kind, chance.choice(_EDGES[kind]))
    at = chance.randrange(min(len(found), chance.choice((_HEADER_BYTES, len(found)))))
    found[at : at + len(packed)] = packed
    return bytes(found)


def absurd_size(chance: random.Random, data: bytes) -> bytes:
    """Another size in the header, from nothing to billions."""
    width, height = (
        chance.choice((0, 1, chance.randrange(1, 400), 5_000, 20_000, 2**16 - 1, 2**31 - 1))
        for _ in range(2)
    )
    return announce(data, width, height)


def other_header(chance: random.Random, data: bytes) -> bytes:
    """The beginning of another file."""
    other = originals()[chance.choice(sorted(originals()))]
    at = chance.randrange(1, _HEADER_BYTES)
    return other[:at] + data[at:]


def other_inside(chance: random.Random, data: bytes) -> bytes:
    """Another whole file in the middle, or behind."""
    other = originals()[chance.choice(sorted(originals()))]
    at = chance.choice((len(data), chance.randrange(len(data))))
    return data[:at] + other + data[at:]


def shuffled_parts(chance: random.Random, data: bytes) -> bytes:
    """Its chunks, if it is a PNG, or its quarters in another order."""
    parts = _png_chunks(data)
    if parts is None:
        size = max(1, len(data) // 4)
        parts = [data[at : at + size] for at in range(0, len(data), size)]
    first, *rest = parts
    chance.shuffle(rest)
    return first + b"".join(rest)


def right_checksums(_chance: random.Random, data: bytes) -> bytes:
    """A PNG's checksums made to fit, so that what is broken is not refused for them."""
    parts = _png_chunks(data)
    if parts is None:
        return data
    fitted = [part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) for part in parts[1:]]
    return parts[0] + b"".join(fitted)


MUTATORS: Final[tuple[Mutator, ...]] = (
    flipped_bits,
    flipped_in_header,
    cut_short,
    cut_out,
    doubled,
    blanked,
    extreme_number,
    absurd_size,
    other_header,
    other_inside,
    shuffled_parts,
    right_checksums,
)


def _range(chance: random.Random, data: bytes) -> tuple[int, int]:
    """A part of a file that is not empty, small or large."""
    begin = chance.randrange(len(data))
    return begin, min(len(data), begin + chance.choice((1, 4, 16, 256, len(data))))


def _png_chunks(data: bytes) -> list[bytes] | None:
    """A PNG's signature and each of its chunks, as far as they hold together."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        parts.append(data[at:end])
        at = end
    return [part for part in parts if len(part) >= 8]
