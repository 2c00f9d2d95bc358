"""The search for near-duplicates finds what comparing all pairs would find."""

import numpy as np
import pytest
from PIL import Image

from tests.images import encode, photograph
from training.audit.copies import near_copies
from training.data.duplicates import Near, components, hash_words, link_near
from training.data.image_stats import measure

Pairs = list[tuple[int, int]]


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


def every(i: np.ndarray, j: np.ndarray, distance: np.ndarray) -> np.ndarray:
    return np.ones(len(distance), bool)


def links(plain: list[int], mirrored: list[int], bits: int, near: Near = every) -> Pairs:
    words = [hash_words([*map(hexadecimal, values)]) for values in (plain, mirrored)]
    cells = [np.zeros(len(plain), np.int64)]
    return link_near(*words, bits=bits, cells=cells, near=near)


@pytest.mark.parametrize("bits", [0, 1, 6, 20])
@pytest.mark.parametrize("seed", range(5))
def test_joins_what_comparing_all_pairs_joins(bits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    plain: list[int] = []
    mirrored: list[int] = []
    for _ in range(60):
        plain.append(int.from_bytes(random.bytes(32)))
        mirrored.append(int.from_bytes(random.bytes(32)))
    for _ in range(90):  # planted: copies of plain or mirrored ones, 0 to 9 or 0 to 29 bits off
        which = int(random.integers(0, len(plain)))
        most = 30 if bits == 20 else 10
        places = random.choice(256, int(random.integers(0, most)), replace=False).tolist()
        pair = [plain[which], mirrored[which]]
        if random.random() < 0.5:
            pair.reverse()
        plain.append(flip(pair[0], places))
        mirrored.append(flip(pair[1], places))
    found, all_pairs = links(plain, mirrored, bits), brute_force(plain, mirrored, bits)
    assert set(found) <= set(all_pairs)
    assert components(150, found).tolist() == components(150, all_pairs).tolist()
    assert found


@pytest.mark.parametrize("seed", range(3))
def test_bits_that_differ_side_by_side_do_not_escape(seed: int) -> None:
    random = np.random.default_rng(seed)
    base = int.from_bytes(random.bytes(32))
    plain = [base] + [flip(base, list(range(at, at + 6))) for at in range(0, 250, 10)]
    far = [int.from_bytes(random.bytes(32)) for _ in plain]
    assert components(len(plain), links(plain, far, 6)).tolist() == [0] * len(plain)


def test_what_is_near_by_bits_alone_is_asked_about_once_a_pair_and_may_be_refused() -> None:
    asked = []

    def near(i: np.ndarray, j: np.ndarray, distance: np.ndarray) -> np.ndarray:
        asked.append((i.tolist(), j.tolist(), distance.tolist()))
        return np.zeros(len(i), bool)

    assert links([0, 1], [1 << 200, 1 << 201], 1, near) == []
    assert {(tuple(sorted((i[0], j[0]))), d[0]) for i, j, d in asked if i} == {((0, 1), 1)}


def test_only_pictures_that_share_a_cell_are_joined() -> None:
    words = [hash_words([hexadecimal(value)] * 3) for value in (5, 9)]
    cells = [np.array([0, 1, 2]), np.array([7, 7, 8])]
    assert link_near(*words, bits=0, cells=cells, near=every) == [(0, 1)]


def test_no_pictures_have_no_pairs() -> None:
    assert links([], [], 6) == []


def test_copies_are_joined_and_a_symmetric_picture_is_not_its_own_pair() -> None:
    assert components(3, links([5] * 3, [5] * 3, 0)).tolist() == [0, 0, 0]
    assert links([5], [5], 6) == []


def test_thousands_of_copies_are_joined_by_few_pairs() -> None:
    plain = [flip(5, [at]) for at in range(256)] * 20
    found = links(plain, [1 << 99] * len(plain), 2)
    assert components(len(plain), found).tolist() == [0] * len(plain)
    assert len(found) < 10 * len(plain)


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
    assert near_copies(facts) == [(0, 6), (1, 7), (2, 8)]
