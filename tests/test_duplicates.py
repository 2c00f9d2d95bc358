"""The search for near-duplicates finds what comparing all pairs would find."""

import numpy as np
import pytest
from PIL import Image

from tests.conftest import encode, photograph
from training.duplicates import MAX_BITS, components, near_pairs
from training.facts import measure


def hexadecimal(value: int) -> str:
    return f"{value:064x}"


def flip(value: int, places: list[int]) -> int:
    for place in places:
        value ^= 1 << place
    return value


def brute_force(plain: list[int], mirrored: list[int], bits: int) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(plain))
        for j in range(i + 1, len(plain))
        if min(
            (plain[i] ^ plain[j]).bit_count(),
            (plain[i] ^ mirrored[j]).bit_count(),
            (mirrored[i] ^ plain[j]).bit_count(),
        )
        <= bits
    ]


@pytest.mark.parametrize("bits", [0, 1, 6, MAX_BITS])
@pytest.mark.parametrize("seed", range(5))
def test_finds_exactly_the_pairs_that_comparing_all_finds(bits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    plain: list[int] = []
    mirrored: list[int] = []
    for _ in range(60):
        plain.append(int.from_bytes(random.bytes(32)))
        mirrored.append(int.from_bytes(random.bytes(32)))
    for _ in range(90):  # planted: copies of plain or mirrored ones, 0 to 9 bits off
        which = int(random.integers(0, len(plain)))
        places = random.choice(256, int(random.integers(0, 10)), replace=False).tolist()
        pair = [plain[which], mirrored[which]]
        if random.random() < 0.5:
            pair.reverse()
        plain.append(flip(pair[0], places))
        mirrored.append(flip(pair[1], places))
    found = near_pairs([*map(hexadecimal, plain)], [*map(hexadecimal, mirrored)], bits=bits)
    assert found == brute_force(plain, mirrored, bits)
    assert found


@pytest.mark.parametrize("seed", range(3))
def test_bits_that_differ_side_by_side_do_not_escape(seed: int) -> None:
    random = np.random.default_rng(seed)
    base = int.from_bytes(random.bytes(32))
    plain = [base] + [flip(base, list(range(at, at + 6))) for at in range(0, 250, 10)]
    far = [int.from_bytes(random.bytes(32)) for _ in plain]
    found = near_pairs([*map(hexadecimal, plain)], [*map(hexadecimal, far)], bits=6)
    assert set(found) >= {(0, index) for index in range(1, len(plain))}
    assert found == brute_force(plain, far, 6)


def test_no_pictures_have_no_pairs() -> None:
    assert near_pairs([], [], bits=6) == []


def test_copies_are_found_and_a_symmetric_picture_is_not_its_own_pair() -> None:
    same = hexadecimal(5)
    assert near_pairs([same] * 3, [same] * 3, bits=0) == [(0, 1), (0, 2), (1, 2)]
    assert near_pairs([same], [same], bits=6) == []


def test_a_distance_beyond_what_the_search_promises_is_refused() -> None:
    with pytest.raises(ValueError, match="complete up to 7 bits, not 8"):
        near_pairs([], [], bits=8)


def test_groups_are_numbered_by_their_first_member() -> None:
    assert components(6, [(4, 1), (2, 5), (5, 2)]).tolist() == [0, 1, 2, 3, 1, 2]
    assert components(3, []).tolist() == [0, 1, 2]
    assert components(0, []).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_the_connected_parts(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 40
    links = [(int(a), int(b)) for a, b in random.integers(0, count, (25, 2))]
    reach = np.eye(count, dtype=bool)
    for a, b in links:
        reach[a, b] = reach[b, a] = True
    for _ in range(6):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    numbers = components(count, links)
    assert ((numbers[:, None] == numbers[None, :]) == reach).all()


def test_a_picture_saved_again_shrunk_or_mirrored_is_found_and_others_are_not() -> None:
    drawn = [photograph(200, 150, seed) for seed in range(6)]
    copies = [
        encode(drawn[0], "JPEG", quality=60),
        encode(drawn[1].resize((120, 90)), "WEBP", quality=80),
        encode(drawn[2].transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=90),
    ]
    facts = [measure(data, size=64)[1] for data in [*map(encode, drawn), *copies]]
    found = near_pairs(
        [fact.dhash for fact in facts], [fact.dhash_mirrored for fact in facts], bits=6
    )
    assert found == [(0, 6), (1, 7), (2, 8)]
