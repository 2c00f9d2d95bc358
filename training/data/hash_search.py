"""Search for near-duplicate hashes without comparing all pairs (multi-index hashing).

Two 256-bit hashes that differ in at most b bits agree in at least one of b + 1 chunks (the
pigeonhole principle of Norouzi, Punjani, Fleet 2012), so only pictures that share a chunk are
compared. The bits are shuffled before they are cut into chunks: neighbouring bits of pictures
with plain borders are equal far too often.

The result is groups, so a pair that is in one group already is not compared: a video of
thousands of frames costs little more than as many different pictures.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_HASH_BITS: Final = 256
_MAX_CHUNK_BITS: Final = 40  # so that chunk and cell fit into 63 bits

Indices = NDArray[np.int64]
PairFilter = Callable[[Indices, Indices, Indices], NDArray[np.bool_]]


def pack_hashes(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Convert n 256-bit hashes in hexadecimal to uint64 (n, 4)."""
    data = bytes.fromhex("".join(hashes))
    return np.frombuffer(data, dtype=np.uint64).reshape(len(hashes), _HASH_BITS // 64)


def find_near_pairs(
    plain: NDArray[np.uint64],
    mirrored: NDArray[np.uint64],
    *,
    max_bits: int,
    cells: Sequence[Indices],
    accept: PairFilter,
) -> list[tuple[int, int]]:
    """Find pairs that join all near-duplicates to groups.

    Args:
        plain: uint64 (n, 4): hashes.
        mirrored: uint64 (n, 4): hashes of the mirrored pictures.
        max_bits: Max number of bits in which near-duplicates differ.
        cells: int64 (n,) each: near-duplicates are in the same cell of at least one of these.
        accept: Takes indices i and j of pairs and the number of bits in which they differ,
            returns a mask of the near-duplicates.

    Returns:
        Pairs (i, j) with i < j, sorted. Each is accepted, and together they connect every two
        pictures that a chain of accepted pairs connects.
    """
    n = len(plain)
    hashes = np.concatenate([plain, mirrored])  # (2n, 4)
    groups = np.arange(n)
    pairs: list[tuple[int, int]] = []
    width, chunks = _cut_into_chunks(hashes, max_bits + 1)
    for chunk in chunks:
        for cell in cells:
            # Sorted by cell and chunk, hashes to compare are neighbours.
            keys = (np.tile(cell, 2) << width) | chunk
            order = np.argsort(keys, kind="stable")
            ranked = keys[order]
            at, offset = np.arange(len(order)), 0
            while len(at):
                offset += 1
                at = at[at < len(order) - offset]
                at = at[ranked[at] == ranked[at + offset]]
                a, b = order[at], order[at + offset]
                i, j = a % n, b % n
                # A pair of mirrored hashes repeats the pair of plain ones.
                wanted = (groups[i] != groups[j]) & ((a < n) | (b < n))
                a, b, i, j = a[wanted], b[wanted], i[wanted], j[wanted]
                bits = np.bitwise_count(hashes[a] ^ hashes[b]).sum(axis=1, dtype=np.int64)
                found = (bits <= max_bits) & accept(i, j, bits)
                if found.any():
                    i, j = i[found], j[found]
                    pairs += zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), strict=True)
                    groups = _join(n, groups[i], groups[j])[groups]
    return sorted(set(pairs))


def connected_groups(n: int, pairs: Iterable[tuple[int, int]]) -> Indices:
    """Assign numbers to the groups that pairs connect, in order of their first member.

    Args:
        n: Number of pictures.
        pairs: Indices (i, j) of pictures that belong together.

    Returns:
        int64 (n,): the group number of each picture.
    """
    ends = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    return _join(n, ends[:, 0], ends[:, 1])


def _join(n: int, a: Indices, b: Indices) -> Indices:
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    _, found = connected_components(graph, directed=False)
    _, first, numbers = np.unique(found, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[numbers], dtype=np.int64)


def _cut_into_chunks(hashes: NDArray[np.uint64], num_chunks: int) -> tuple[int, Indices]:
    """Cut hashes (h, 4) into chunks of shuffled bits: bits per chunk, and int64 (num_chunks, h)."""
    order = np.random.default_rng(0).permutation(_HASH_BITS)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)[:, order]  # (h, 256)
    width = min(_HASH_BITS // num_chunks, _MAX_CHUNK_BITS)
    weights = 1 << np.arange(width)
    return width, np.stack(
        [bits[:, k * width : (k + 1) * width] @ weights for k in range(num_chunks)]
    )
