"""Near-duplicate pictures, and the groups that cross-validation must not split.

Two pictures are near-duplicates if one is the other saved again, resized, mirrored, or all of it.
Their difference hashes compare neighbouring cells of the picture. Where the picture is plain, a
comparison comes out by chance, and a copy saved at low quality can differ there: in up to 24 of
256 bits, in 360 copies at JPEG quality 30. Other pictures differ in 62 bits or more. So beyond
the few bits that prove a copy by themselves, brightness and contrast must agree as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.hash_search import Indices, connected_groups, find_near_pairs, pack_hashes
from training.data.image_stats import ImageStats

# Bits in which a copy may differ with nothing else agreeing, such as one with other colours.
# Re-encoding changes 2 in the median; of 360 different photographs no two were below 30.
_MAX_BITS_OF_SURE_COPY: Final = 6

# Share of a pair's informative bits that may differ if brightness and contrast agree: 8 % covers
# 98 % of copies at quality 30 or at 0.3 of the edge; different photographs start at 24 %.
_MAX_SHARE_OF_BITS: Final = 0.08

# Max difference of mean luma and of its deviation: 3 times the largest that re-encoding made,
# and (contrast, which shrinking lowers) that shrinking to 0.3 of the edge made.
_MAX_BRIGHTNESS_DIFFERENCE: Final = 0.005
_MAX_CONTRAST_DIFFERENCE: Final = 0.03


def find_near_duplicates(stats: Sequence[ImageStats]) -> list[tuple[int, int]]:
    """Find pictures that are re-encoded, resized or mirrored copies of each other.

    Args:
        stats: Statistics of each picture.

    Returns:
        Pairs (i, j) with i < j, sorted, enough of them to join all copies of a picture to one
        group. Files that are equal to the byte are joined as well; blank pictures never are.
    """
    kept = np.array([i for i, one in enumerate(stats) if not one.is_blank], np.int64)
    if not len(kept):
        return []
    chosen = [stats[i] for i in kept]
    plain = pack_hashes([one.dhash for one in chosen])
    mirrored = pack_hashes([one.dhash_mirrored for one in chosen])
    # The same picture thousands of times is searched for once.
    light = np.array([(one.brightness, one.contrast) for one in chosen])
    looks = np.column_stack([plain, mirrored, light.view(np.uint64)])
    _, first, same = np.unique(looks, axis=0, return_index=True, return_inverse=True)
    identical = [(int(first[s]), i) for i, s in enumerate(same) if first[s] != i]
    similar = _find_similar(plain[first], mirrored[first], [chosen[i] for i in first])
    pairs = {*identical, *((int(first[i]), int(first[j])) for i, j in similar)}
    return sorted((int(kept[min(pair)]), int(kept[max(pair)])) for pair in pairs)


def _find_similar(
    plain: NDArray[np.uint64], mirrored: NDArray[np.uint64], stats: Sequence[ImageStats]
) -> list[tuple[int, int]]:
    """Find pairs that agree in all but a few bits, or in light and nearly all of the hash."""
    brightness = np.array([one.brightness for one in stats])
    contrast = np.array([one.contrast for one in stats])
    max_bits = _MAX_SHARE_OF_BITS * np.array([one.informative_bits for one in stats])

    def hash_agrees(i: Indices, j: Indices, bits: Indices) -> NDArray[np.bool_]:
        return np.asarray(bits <= np.minimum(max_bits[i], max_bits[j]))

    def hash_and_light_agree(i: Indices, j: Indices, bits: Indices) -> NDArray[np.bool_]:
        light = np.abs(brightness[i] - brightness[j]) <= _MAX_BRIGHTNESS_DIFFERENCE
        light &= np.abs(contrast[i] - contrast[j]) <= _MAX_CONTRAST_DIFFERENCE
        return np.asarray(hash_agrees(i, j, bits) & light)

    # Two values that are nearer than half a cell share a cell of one of two shifted grids.
    grid = brightness / (2 * _MAX_BRIGHTNESS_DIFFERENCE)
    cells = [grid.astype(np.int64), (grid + 0.5).astype(np.int64)]
    one_cell = [np.zeros(len(stats), np.int64)]
    return find_near_pairs(
        plain, mirrored, max_bits=_MAX_BITS_OF_SURE_COPY, cells=one_cell, accept=hash_agrees
    ) + find_near_pairs(
        plain, mirrored, max_bits=int(max_bits.max()), cells=cells, accept=hash_and_light_agree
    )


def group_pictures(
    names: Sequence[str], named_groups: Mapping[str, str], duplicates: Iterable[tuple[int, int]]
) -> NDArray[np.int64]:
    """Assign group numbers to pictures that must stay on one side of every split.

    Args:
        names: File names of the n pictures.
        named_groups: Group name by file name, where known.
        duplicates: Pairs of indices, as from `find_near_duplicates`.

    Returns:
        int64 (n,): the group number of each picture.
    """
    pairs = list(duplicates)
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if group := named_groups.get(name):
            pairs.append((first.setdefault(group, i), i))
    return connected_groups(len(names), pairs)
