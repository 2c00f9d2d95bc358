"""Broken files derived from valid ones, reproducible by seed."""

import random
import struct
import zlib
from collections.abc import Callable
from typing import Final

from checks.fuzz.originals import originals
from checks.fuzz.sizes import announce

_MAX_MUTATIONS: Final = 3
_HEADER_BYTES: Final = 96
# Boundary values of unsigned integers, by the format letter of `struct`.
_BOUNDARY_VALUES: Final = {
    "B": (0, 1, 0x7F, 0x80, 0xFF),
    "H": (0, 1, 0x7FFF, 0x8000, 0xFFFF),
    "I": (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
}

Mutator = Callable[[random.Random, bytes], bytes]


def mutate(seed: int, index: int) -> tuple[str, bytes]:
    """Return a description of a broken file, and its content.

    Args:
        seed: Seed of the run.
        index: Index of the file in the run.
    """
    rng = random.Random(f"{seed} {index}")
    name = rng.choice(sorted(originals()))
    data, steps = originals()[name], [name]
    for _ in range(rng.randint(1, _MAX_MUTATIONS)):
        mutator = rng.choice(MUTATORS)
        data = mutator(rng, data) or b"\0"
        steps.append(mutator.__name__.replace("_", " "))
    return ", ".join(steps), data


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Flip a few bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_header_bits(rng: random.Random, data: bytes) -> bytes:
    """Flip a few bits of the header, but not in the bytes that identify the format."""
    changed = bytearray(data)
    if len(changed) > 12:
        for _ in range(rng.choice((1, 2, 8))):
            changed[rng.randrange(8, min(len(changed), _HEADER_BYTES))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng: random.Random, data: bytes) -> bytes:
    """Return the beginning only."""
    return data[: rng.randrange(len(data))]


def remove_part(rng: random.Random, data: bytes) -> bytes:
    """Remove a part in the middle."""
    begin, end = _range(rng, data)
    return data[:begin] + data[end:]


def repeat_part(rng: random.Random, data: bytes) -> bytes:
    """Repeat a part many times."""
    begin, end = _range(rng, data)
    return data[:begin] + data[begin:end] * rng.choice((2, 3, 50)) + data[end:]


def overwrite_part(rng: random.Random, data: bytes) -> bytes:
    """Overwrite a part with zeros, ones or noise."""
    begin, end = _range(rng, data)
    size = end - begin
    fill = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return data[:begin] + fill + data[end:]


def write_boundary_value(rng: random.Random, data: bytes) -> bytes:
    """Overwrite one, two or four bytes with a number at the end of its range."""
    changed = bytearray(data)
    kind = rng.choice(sorted(_BOUNDARY_VALUES))
    packed = struct.pack(rng.choice("<>") + kind, rng.choice(_BOUNDARY_VALUES[kind]))
    at = rng.randrange(min(len(changed), rng.choice((_HEADER_BYTES, len(changed)))))
    changed[at : at + len(packed)] = packed
    return bytes(changed)


def announce_absurd_size(rng: random.Random, data: bytes) -> bytes:
    """Announce another size in the header, from zero to billions."""
    width, height = (
        rng.choice((0, 1, rng.randrange(1, 400), 5_000, 20_000, 2**16 - 1, 2**31 - 1))
        for _ in range(2)
    )
    return announce(data, width, height)


def replace_header(rng: random.Random, data: bytes) -> bytes:
    """Replace the beginning by that of another file."""
    other = originals()[rng.choice(sorted(originals()))]
    at = rng.randrange(1, _HEADER_BYTES)
    return other[:at] + data[at:]


def insert_other_file(rng: random.Random, data: bytes) -> bytes:
    """Insert another file in the middle, or append it."""
    other = originals()[rng.choice(sorted(originals()))]
    at = rng.choice((len(data), rng.randrange(len(data))))
    return data[:at] + other + data[at:]


def shuffle_parts(rng: random.Random, data: bytes) -> bytes:
    """Shuffle the chunks of a PNG, or the quarters of any other file."""
    parts = _png_chunks(data)
    if parts is None:
        size = max(1, len(data) // 4)
        parts = [data[at : at + size] for at in range(0, len(data), size)]
    first, *rest = parts
    rng.shuffle(rest)
    return first + b"".join(rest)


def correct_checksums(_rng: random.Random, data: bytes) -> bytes:
    """Correct the checksums of a PNG, so that it is not refused for them."""
    parts = _png_chunks(data)
    if parts is None:
        return data
    fitted = [part[:-4] + struct.pack(">I", zlib.crc32(part[4:-4])) for part in parts[1:]]
    return parts[0] + b"".join(fitted)


MUTATORS: Final[tuple[Mutator, ...]] = (
    flip_bits,
    flip_header_bits,
    truncate,
    remove_part,
    repeat_part,
    overwrite_part,
    write_boundary_value,
    announce_absurd_size,
    replace_header,
    insert_other_file,
    shuffle_parts,
    correct_checksums,
)


def _range(rng: random.Random, data: bytes) -> tuple[int, int]:
    """Return the range of a non-empty part of a file, small or large."""
    begin = rng.randrange(len(data))
    return begin, min(len(data), begin + rng.choice((1, 4, 16, 256, len(data))))


def _png_chunks(data: bytes) -> list[bytes] | None:
    """Return the signature and the chunks of a PNG, as far as they are intact; else None."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        parts.append(data[at:end])
        at = end
    return [part for part in parts if len(part) >= 8]
