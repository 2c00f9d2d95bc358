"""Near copies: pictures that were saved again, resized or recompressed.

A difference hash compares neighbouring cells of a picture: 16 x 16 comparisons, 256 bits (Krawetz
2013). The training job looks closer, at mirrored and faint copies as well: see
`training.data.duplicates`, which has the limits' reasons.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

EDGE: Final = 16
"""Edge of the grid of comparisons."""

# As in `training.data.duplicates` and `training.data.image_stats`: a test compares them.
MAX_BITS: Final = 6
MIN_INFORMATIVE_BITS: Final = 24

_BITS: Final = EDGE * EDGE
# Hashes that differ in 6 bits agree in at least one of 8 parts.
_PARTS: Final = 8
_PART_BITS: Final = _BITS // _PARTS


def difference_hash(grey: bytes) -> str | None:
    """Return the hash in hex; None for a picture that shows too little to compare.

    Args:
        grey: Luma of `EDGE` rows of `EDGE` + 1 pixels.
    """
    bits = informative = 0
    for row in range(EDGE):
        start = row * (EDGE + 1)
        for left, right in zip(
            grey[start : start + EDGE], grey[start + 1 : start + EDGE + 1], strict=True
        ):
            bits = bits << 1 | (right > left)
            informative += left != right
    return None if informative < MIN_INFORMATIVE_BITS else f"{bits:0{_BITS // 4}x}"


def find_near_copies(new: Mapping[int, str], known: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of a new picture and one that is nearly the same.

    Args:
        new: Hash of each new picture by its id.
        known: Hash of each picture, the new ones among them.
    """
    values = {id: int(text, 16) for id, text in known.items()}
    buckets: dict[int, list[int]] = defaultdict(list)
    wanted = {key for text in new.values() for key in _keys(int(text, 16))}
    for id, value in values.items():
        for key in _keys(value):
            if key in wanted:
                buckets[key].append(id)
    for id, text in new.items():
        value = int(text, 16)
        near = {
            other
            for key in _keys(value)
            for other in buckets[key]
            if other != id and (value ^ values[other]).bit_count() <= MAX_BITS
        }
        yield from ((id, other) for other in sorted(near) if other not in new or other < id)


def _keys(value: int) -> Iterator[int]:
    """Yield each part of a hash, numbered."""
    mask = (1 << _PART_BITS) - 1
    for part in range(_PARTS):
        yield (value >> part * _PART_BITS & mask) * _PARTS + part
