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

from training.data.duplicates import Places, components, hash_words, link_near
from training.data.image_stats import PictureFacts

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
        Pairs (i, j) with i < j, sorted, enough of them to join all copies of a picture to one
        group; files that are the same to the byte are joined, too, blank pictures never are.
    """
    kept = np.array([place for place, fact in enumerate(facts) if not is_blank(fact)], np.int64)
    if not len(kept):
        return []
    chosen = [facts[place] for place in kept]
    plain = hash_words([fact.dhash for fact in chosen])
    mirrored = hash_words([fact.dhash_mirrored for fact in chosen])
    # The same picture thousands of times is searched for once.
    light = np.array([(fact.brightness, fact.contrast) for fact in chosen])
    looks = np.column_stack([plain, mirrored, light.view(np.uint64)])
    _, first, same = np.unique(looks, axis=0, return_index=True, return_inverse=True)
    identical = [(int(first[s]), i) for i, s in enumerate(same) if first[s] != i]
    alike = _alike(plain[first], mirrored[first], [chosen[place] for place in first])
    links = {*identical, *((int(first[i]), int(first[j])) for i, j in alike)}
    return sorted((int(kept[min(pair)]), int(kept[max(pair)])) for pair in links)


def _alike(
    plain: NDArray[np.uint64], mirrored: NDArray[np.uint64], facts: Sequence[PictureFacts]
) -> list[tuple[int, int]]:
    """Pairs that agree in all but a few bits, or in brightness, contrast and most of the hash."""
    brightness = np.array([fact.brightness for fact in facts])
    contrast = np.array([fact.contrast for fact in facts])
    most = _NEAR_SHARE * np.array([_telling(fact) for fact in facts])

    def sure(i: Places, j: Places, distance: Places) -> NDArray[np.bool_]:
        return np.asarray(distance <= np.minimum(most[i], most[j]))

    def near(i: Places, j: Places, distance: Places) -> NDArray[np.bool_]:
        light = np.abs(brightness[i] - brightness[j]) <= _BRIGHTNESS
        light &= np.abs(contrast[i] - contrast[j]) <= _CONTRAST
        return np.asarray(sure(i, j, distance) & light)

    # Two that are nearer than a cell's half width share a cell of one of two shifted grids.
    grid = brightness / (2 * _BRIGHTNESS)
    cells = [grid.astype(np.int64), (grid + 0.5).astype(np.int64)]
    everywhere = [np.zeros(len(facts), np.int64)]
    return link_near(plain, mirrored, bits=SURE_BITS, cells=everywhere, near=sure) + link_near(
        plain, mirrored, bits=int(most.max()), cells=cells, near=near
    )


def _telling(facts: PictureFacts) -> int:
    """Comparisons of 256 that are no draw: set in the hash, or in that of the mirror image."""
    return int(facts.dhash, 16).bit_count() + int(facts.dhash_mirrored, 16).bit_count()


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
