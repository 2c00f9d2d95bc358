"""Which pictures are copies of which: the same bytes, or the same picture saved anew.

A difference hash compares neighbouring cells of the picture. Where the picture is plain, the
comparison comes out by chance, and a copy saved at low quality can differ there: in up to 24 of
256 bits, in 360 copies at JPEG quality 30. Other pictures differ in 62 bits or more. So beyond
the few bits that prove a copy by themselves, a pair counts if brightness and contrast agree, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.duplicates import components, near_pairs
from training.facts import PictureFacts

# Bits that two pictures may differ in with nothing else agreeing: a copy with other colours.
# Re-encoding changes 2 in the median; of 360 different photographs no two were below 30.
SURE_BITS: Final = 6

# Share of a pair's telling comparisons that may differ if brightness and contrast agree: 8 %
# covers 98 % of copies at quality 30 or at 0.3 of the edge; different photographs start at 24 %.
_NEAR_SHARE: Final = 0.08

# Largest difference of mean luma and of its deviation: 3 times the largest that re-encoding
# made, and (contrast, which shrinking lowers) that shrinking to 0.3 of the edge made.
_BRIGHTNESS: Final = 0.005
_CONTRAST: Final = 0.03

# Fewest comparisons of 256 that must tell something, and least deviation of luma (5 of 255
# levels): below, a picture is blank. Real photographs have 177 and 0.108 at least. All black
# frames look alike, and that makes them useless rather than copies of each other.
_TELLING: Final = 24
_BLANK_CONTRAST: Final = 0.02

_BLOCK: Final = 512  # pictures compared at a time; 512 x a window of thousands fits any memory


def is_blank(facts: PictureFacts) -> bool:
    """Whether there is so little in a picture that a hash of it tells nothing."""
    return facts.contrast < _BLANK_CONTRAST or _telling(facts) < _TELLING


def exact_copies(facts: Sequence[PictureFacts]) -> list[tuple[int, ...]]:
    """Places of the pictures whose files are the same to the byte, two or more a group."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        places[fact.sha256].append(place)
    return [tuple(group) for group in places.values() if len(group) > 1]


def near_copies(facts: Sequence[PictureFacts]) -> list[tuple[int, int]]:
    """Find pictures that show the same: re-encoded, resized, mirrored, or all of it.

    Args:
        facts: One a picture.

    Returns:
        Pairs (i, j) with i < j, sorted; files that are the same to the byte are pairs, too,
        blank pictures never are.
    """
    kept = [place for place, fact in enumerate(facts) if not is_blank(fact)]
    chosen = [facts[place] for place in kept]
    if len(chosen) < 2:
        return []
    telling = np.array([_telling(fact) for fact in chosen])
    plain = _signs([fact.dhash for fact in chosen])
    mirrored = _signs([fact.dhash_mirrored for fact in chosen])
    pairs = set(_close_in_light(chosen, plain, mirrored, telling))
    sure = near_pairs(
        [fact.dhash for fact in chosen], [fact.dhash_mirrored for fact in chosen], bits=SURE_BITS
    )
    for i, j in sure:
        nearest = min(_distance(plain[i], plain[j]), _distance(plain[i], mirrored[j]))
        if nearest <= _NEAR_SHARE * min(telling[i], telling[j]):
            pairs.add((i, j))
    return sorted((kept[i], kept[j]) for i, j in pairs)


def _close_in_light(
    facts: Sequence[PictureFacts],
    plain: NDArray[np.float32],
    mirrored: NDArray[np.float32],
    telling: NDArray[np.int64],
) -> list[tuple[int, int]]:
    """Pairs that agree in brightness, contrast and hash; sorted by light, few need comparing."""
    brightness = np.array([fact.brightness for fact in facts])
    contrast = np.array([fact.contrast for fact in facts])
    order = np.argsort(brightness, kind="stable")
    sorted_light = brightness[order]
    pairs = []
    for start in range(0, len(order), _BLOCK):
        rows = order[start : start + _BLOCK]
        stop = np.searchsorted(sorted_light, brightness[rows[-1]] + _BRIGHTNESS, side="right")
        columns = order[start:stop]  # earlier ones have met these rows in their own block
        distance = np.minimum(
            _distance(plain[rows], plain[columns]), _distance(plain[rows], mirrored[columns])
        )
        near = (
            (distance <= _NEAR_SHARE * np.minimum(telling[rows][:, None], telling[columns]))
            & (np.abs(brightness[rows][:, None] - brightness[columns]) <= _BRIGHTNESS)
            & (np.abs(contrast[rows][:, None] - contrast[columns]) <= _CONTRAST)
        )
        for row, column in np.argwhere(near):
            i, j = int(rows[row]), int(columns[column])
            if i != j:
                pairs.append((min(i, j), max(i, j)))
    return pairs


def _telling(facts: PictureFacts) -> int:
    """Comparisons of 256 that are no draw: set in the hash, or in that of the mirror image."""
    return int(facts.dhash, 16).bit_count() + int(facts.dhash_mirrored, 16).bit_count()


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """Hashes in hex as float32 (n, 256) of +1 and -1, whose products count equal bits."""
    words = np.array([bytearray.fromhex(text) for text in hashes], dtype=np.uint8)
    return np.unpackbits(words, axis=1).astype(np.float32) * 2 - 1


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bits that differ, each of a with each of b."""
    return np.asarray((a.shape[-1] - a @ b.T) / 2)


def together(
    names: Sequence[str],
    named: Mapping[str, str],
    copies: Iterable[tuple[int, int]],
) -> NDArray[np.int64]:
    """Number the groups of pictures that may not stand on both sides of a fold.

    Args:
        names: Of the pictures.
        named: Group name by picture, where known.
        copies: Pairs, as from `near_copies`.

    Returns:
        int64 (n,).
    """
    links = list(copies)
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if group := named.get(name):
            links.append((first.setdefault(group, place), place))
    return components(len(names), links)
