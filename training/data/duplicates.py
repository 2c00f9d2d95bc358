"""Near-duplicate pictures, by their difference hashes, without comparing all pairs.

Two 256-bit hashes that differ in at most b bits agree in at least one of b + 1 chunks (the
pigeonhole of multi-index hashing: Norouzi, Punjani, Fleet 2012), so only pictures that share a
chunk are compared. Which bits make a chunk is shuffled: neighbouring bits of pictures with plain
borders are equal far too often.

What is looked for are groups, so a pair that is in one group already is not compared: a film of
thousands of frames costs little more than as many different pictures.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_BITS: Final = 256
_WIDEST: Final = 40  # bits of a chunk, so that chunk and cell fit into 63

Places = NDArray[np.int64]
Near = Callable[[Places, Places, Places], NDArray[np.bool_]]


def hash_words(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """256-bit hashes in hex as uint64 (n, 4)."""
    data = bytes.fromhex("".join(hashes))
    return np.frombuffer(data, dtype=np.uint64).reshape(len(hashes), _BITS // 64)


def link_near(
    plain: NDArray[np.uint64],
    mirrored: NDArray[np.uint64],
    *,
    bits: int,
    cells: Sequence[Places],
    near: Near,
) -> list[tuple[int, int]]:
    """Find pairs that join all near-duplicates to groups.

    Args:
        plain: uint64 (n, 4): hashes.
        mirrored: uint64 (n, 4): hashes of the mirrored pictures.
        bits: Largest number of bits in which near-duplicates may differ.
        cells: int64 (n,) each: near-duplicates are in the same cell of at least one of these.
        near: Takes places i and j of pairs and the bits in which they differ, tells which of
            them are near-duplicates.

    Returns:
        Pairs (i, j) with i < j, sorted: each is near, and whatever is near is joined by them.
    """
    count = len(plain)
    both = np.concatenate([plain, mirrored])  # (2n, 4)
    groups = np.arange(count)
    links: list[tuple[int, int]] = []
    width, chunks = _chunks(both, bits + 1)
    for chunk in chunks:
        for cell in cells:
            # Sorted by cell and chunk, what is to be compared stands side by side.
            keys = (np.tile(cell, 2) << width) | chunk
            order = np.argsort(keys, kind="stable")
            ranked = keys[order]
            at, apart = np.arange(len(order)), 0
            while len(at):
                apart += 1
                at = at[at < len(order) - apart]
                at = at[ranked[at] == ranked[at + apart]]
                a, b = order[at], order[at + apart]
                i, j = a % count, b % count
                # Two mirrored ones repeat what the plain ones say.
                wanted = (groups[i] != groups[j]) & ((a < count) | (b < count))
                a, b, i, j = a[wanted], b[wanted], i[wanted], j[wanted]
                distance = np.bitwise_count(both[a] ^ both[b]).sum(axis=1, dtype=np.int64)
                found = (distance <= bits) & near(i, j, distance)
                if found.any():
                    i, j = i[found], j[found]
                    links += zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), strict=True)
                    groups = _join(count, groups[i], groups[j])[groups]
    return sorted(set(links))


def components(count: int, links: Iterable[tuple[int, int]]) -> Places:
    """Number the groups that links join, in order of their first member.

    Args:
        count: Pictures.
        links: Pairs of pictures that belong together.

    Returns:
        int64 (count,): a group number for each picture.
    """
    pairs = np.array(list(links), dtype=np.int64).reshape(-1, 2)
    return _join(count, pairs[:, 0], pairs[:, 1])


def _join(count: int, a: Places, b: Places) -> Places:
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(count, count))
    _, found = connected_components(graph, directed=False)
    _, first, numbers = np.unique(found, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[numbers], dtype=np.int64)


def _chunks(words: NDArray[np.uint64], count: int) -> tuple[int, Places]:
    """Cut hashes (h, 4) into chunks of shuffled bits: bits of each, and int64 (count, h)."""
    order = np.random.default_rng(0).permutation(_BITS)
    bits = np.unpackbits(words.view(np.uint8), axis=1)[:, order]  # (h, 256)
    width = min(_BITS // count, _WIDEST)
    weights = 1 << np.arange(width)
    return width, np.stack([bits[:, k * width : (k + 1) * width] @ weights for k in range(count)])
