"""Near-duplicate pictures, by their difference hashes, without comparing all pairs.

Two 256-bit hashes that differ in at most 7 bits agree in at least one of 8 chunks of 32 bits
(the pigeonhole of multi-index hashing: Norouzi, Punjani, Fleet 2012), so only pictures that
share a chunk are compared. Which bits make a chunk is shuffled: neighbouring bits of pictures
with plain borders are equal far too often.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CHUNKS: Final = 8
MAX_BITS: Final = _CHUNKS - 1
"""Largest distance for which the search is complete."""


def near_pairs(
    hashes: Sequence[str], mirrored: Sequence[str], *, bits: int
) -> list[tuple[int, int]]:
    """Find all pairs of pictures whose hashes, or one's and the other's mirrored, are near.

    Args:
        hashes: 256-bit hashes in hex, one a picture.
        mirrored: The hashes of the mirrored pictures.
        bits: Largest number of bits that differ, at most MAX_BITS.

    Returns:
        Pairs (i, j) with i < j, sorted.
    """
    if bits > MAX_BITS:
        raise ValueError(f"the search is complete up to {MAX_BITS} bits, not {bits}")
    count = len(hashes)
    # One picture often stands many times: compare distinct hashes only.
    distinct, index = np.unique(np.array([*hashes, *mirrored]), return_inverse=True)
    if not len(distinct):
        return []
    words = np.array([bytearray.fromhex(text) for text in distinct], dtype=np.uint8)  # (H, 32)
    near = _near_distinct(words, bits)
    owners: dict[int, list[int]] = defaultdict(list)  # distinct hash -> places in hashes + mirrored
    for place, which in enumerate(index):
        owners[int(which)].append(place)
    pairs = set()
    for a, b in [*near, *((which, which) for which in owners)]:
        for i in owners[a]:
            for j in owners[b]:
                if i < count or j < count:  # two mirrored ones repeat what the plain ones say
                    first, second = sorted((i % count, j % count))
                    if first != second:
                        pairs.add((first, second))
    return sorted(pairs)


def components(count: int, links: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Number the groups that links join, in order of their first member.

    Args:
        count: Pictures.
        links: Pairs of pictures that belong together.

    Returns:
        int64 (count,): a group number for each picture.
    """
    parent = list(range(count))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in links:
        root_a, root_b = find(a), find(b)
        parent[max(root_a, root_b)] = min(root_a, root_b)
    _, numbers = np.unique([find(i) for i in range(count)], return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)


def _near_distinct(words: NDArray[np.uint8], bits: int) -> list[tuple[int, int]]:
    """Pairs of rows of (H, 32) bytes that differ in at most `bits` bits."""
    order = np.random.default_rng(0).permutation(words.shape[1] * 8)
    shuffled = np.packbits(np.unpackbits(words, axis=1)[:, order], axis=1)
    chunks = np.ascontiguousarray(shuffled).view(np.uint32)  # (H, 8)
    pairs: set[tuple[int, int]] = set()
    for column in range(_CHUNKS):
        by_value = np.argsort(chunks[:, column], kind="stable")
        values = chunks[by_value, column]
        starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1], True])
        for start, stop in zip(starts[:-1], starts[1:], strict=True):
            bucket = by_value[start:stop]
            for at in range(len(bucket) - 1):
                rest = bucket[at + 1 :]
                distance = np.bitwise_count(words[rest] ^ words[bucket[at]]).sum(axis=1)
                for other in rest[distance <= bits]:
                    pairs.add((min(bucket[at], other), max(bucket[at], other)))
    return [(int(a), int(b)) for a, b in pairs]
