"""The search for near hashes finds the pairs that comparing all of them finds."""

import numpy as np
import pytest

from training.data.hash_search import PairFilter, connected_groups, find_near_pairs, pack_hashes

Pairs = list[tuple[int, int]]


def hexadecimal(value: int) -> str:
    return f"{value:064x}"


def flip(value: int, positions: list[int]) -> int:
    for position in positions:
        value ^= 1 << position
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


def links(plain: list[int], mirrored: list[int], bits: int, accept: PairFilter = every) -> Pairs:
    words = [pack_hashes([*map(hexadecimal, values)]) for values in (plain, mirrored)]
    cells = [np.zeros(len(plain), np.int64)]
    return find_near_pairs(*words, max_bits=bits, cells=cells, accept=accept)


@pytest.mark.parametrize("bits", [0, 1, 6, 20])
@pytest.mark.parametrize("seed", range(5))
def test_find_near_pairs_equals_brute_force(bits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    plain: list[int] = []
    mirrored: list[int] = []
    for _ in range(60):
        plain.append(int.from_bytes(random.bytes(32)))
        mirrored.append(int.from_bytes(random.bytes(32)))
    for _ in range(90):  # planted: copies of plain or mirrored ones, 0 to 9 or 0 to 29 bits off
        which = int(random.integers(0, len(plain)))
        most = 30 if bits == 20 else 10
        positions = random.choice(256, int(random.integers(0, most)), replace=False).tolist()
        pair = [plain[which], mirrored[which]]
        if random.random() < 0.5:
            pair.reverse()
        plain.append(flip(pair[0], positions))
        mirrored.append(flip(pair[1], positions))
    found, all_pairs = links(plain, mirrored, bits), brute_force(plain, mirrored, bits)
    assert set(found) <= set(all_pairs)
    assert connected_groups(150, found).tolist() == connected_groups(150, all_pairs).tolist()
    assert found


@pytest.mark.parametrize("seed", range(3))
def test_find_near_pairs_with_neighbouring_bits(seed: int) -> None:
    random = np.random.default_rng(seed)
    base = int.from_bytes(random.bytes(32))
    plain = [base] + [flip(base, list(range(at, at + 6))) for at in range(0, 250, 10)]
    far = [int.from_bytes(random.bytes(32)) for _ in plain]
    assert connected_groups(len(plain), links(plain, far, 6)).tolist() == [0] * len(plain)


def test_find_near_pairs_asks_the_filter_once_per_pair() -> None:
    asked = []

    def accept(i: np.ndarray, j: np.ndarray, distance: np.ndarray) -> np.ndarray:
        asked.append((i.tolist(), j.tolist(), distance.tolist()))
        return np.zeros(len(i), bool)

    assert links([0, 1], [1 << 200, 1 << 201], 1, accept) == []
    assert {(tuple(sorted((i[0], j[0]))), d[0]) for i, j, d in asked if i} == {((0, 1), 1)}


def test_find_near_pairs_compares_within_cells_only() -> None:
    words = [pack_hashes([hexadecimal(value)] * 3) for value in (5, 9)]
    cells = [np.array([0, 1, 2]), np.array([7, 7, 8])]
    assert find_near_pairs(*words, max_bits=0, cells=cells, accept=every) == [(0, 1)]


def test_find_near_pairs_without_pictures() -> None:
    assert links([], [], 6) == []


def test_find_near_pairs_does_not_pair_a_symmetric_picture_with_itself() -> None:
    assert connected_groups(3, links([5] * 3, [5] * 3, 0)).tolist() == [0, 0, 0]
    assert links([5], [5], 6) == []


def test_find_near_pairs_joins_thousands_of_copies_by_few_pairs() -> None:
    plain = [flip(5, [at]) for at in range(256)] * 20
    found = links(plain, [1 << 99] * len(plain), 2)
    assert connected_groups(len(plain), found).tolist() == [0] * len(plain)
    assert len(found) < 10 * len(plain)


def test_connected_groups_are_numbered_by_first_member() -> None:
    assert connected_groups(6, [(4, 1), (2, 5), (5, 2)]).tolist() == [0, 1, 2, 3, 1, 2]
    assert connected_groups(3, []).tolist() == [0, 1, 2]
    assert connected_groups(0, []).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_connected_groups_equal_transitive_closure(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 40
    links = [(int(a), int(b)) for a, b in random.integers(0, count, (25, 2))]
    reach = np.eye(count, dtype=bool)
    for a, b in links:
        reach[a, b] = reach[b, a] = True
    for _ in range(6):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    numbers = connected_groups(count, links)
    assert ((numbers[:, None] == numbers[None, :]) == reach).all()
