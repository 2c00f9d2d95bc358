"""The model of scale: its closed form is the run stepped through, and its limits are the costs."""

import heapq
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale import WAYS, Costs, Way, _queued, simulate


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("shards", "workers"), [(1, 1), (3, 7), (7, 3), (100, 7), (500, 40)])
def test_queued_shards_end_as_in_a_run_that_is_stepped_through(
    shards: int, workers: int, seed: int
) -> None:
    shard_s = np.random.default_rng(seed).uniform(0.5, 2.0, workers)
    free = [(0.0, worker) for worker in range(workers)]
    ends = []
    for _ in range(shards):
        now, worker = heapq.heappop(free)
        ends.append(now + shard_s[worker])
        heapq.heappush(free, (ends[-1], worker))
    assert _queued(shards, shard_s) == pytest.approx(max(ends), rel=1e-9)


def test_one_core_needs_the_time_of_its_pictures() -> None:
    costs = Costs(spread=0.0, start_s=5.0)
    found = simulate(10**6, 1, Way("one", costs))
    assert found.seconds == pytest.approx(5 + 10**6 / costs.listed_per_s + 10**6 * costs.core_s)
    assert found.usd == pytest.approx(found.seconds / 3600 * 0.04 + 0.4 + 0.005)
    assert found.bottleneck == "cores"


def test_the_store_is_never_faster_than_its_requests_and_bytes() -> None:
    for way in WAYS:
        found = simulate(10**9, 10_000, way)
        per_second = 10**9 / found.seconds
        read = way.costs.picture_bytes * (2 if way.costs.read_twice else 1)
        assert per_second <= way.costs.store_gets_per_s * way.costs.pictures_per_get
        assert per_second * read <= way.costs.store_bytes_per_s


def test_a_slow_machine_delays_dealt_shards_and_hardly_queued_ones() -> None:
    costs = Costs(spread=0.0, slow_share=0.1)
    even = simulate(10**8, 320, Way("even", replace(costs, slow_share=0.0)))
    dealt = simulate(10**8, 320, Way("dealt", costs, dealt=True))
    queued = simulate(10**8, 320, Way("queued", costs))
    assert dealt.seconds > 1.7 * even.seconds
    assert dealt.bottleneck == "last shards"
    assert queued.seconds < 1.1 * even.seconds
