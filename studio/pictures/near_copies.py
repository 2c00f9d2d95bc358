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

_HEX_DIGITS: Final = EDGE * EDGE // 4
# Hashes that differ in 6 bits agree in at least one of 8 parts. Parts are compared as text, because
# an upload looks at all pictures of the project.
_PARTS: Final = [slice(start, start + 8) for start in range(0, _HEX_DIGITS, 8)]


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
    return None if informative < MIN_INFORMATIVE_BITS else f"{bits:0{_HEX_DIGITS}x}"


def find_near_copies(new: Mapping[int, str], known: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of a new picture and one that is nearly the same.

    Args:
        new: Hash of each new picture by its id.
        known: Hash of each picture, the new ones among them.
    """
    wanted = [{text[part] for text in new.values()} for part in _PARTS]
    buckets: dict[tuple[int, str], list[int]] = defaultdict(list)
    for id, text in known.items():
        for number, part in enumerate(_PARTS):
            if text[part] in wanted[number]:
                buckets[number, text[part]].append(id)
    for id, text in new.items():
        agreeing = {
            other for number, part in enumerate(_PARTS) for other in buckets[number, text[part]]
        }
        near = {
            other
            for other in agreeing - {id}
            if (int(text, 16) ^ int(known[other], 16)).bit_count() <= MAX_BITS
        }
        yield from ((id, other) for other in sorted(near) if other not in new or other < id)
