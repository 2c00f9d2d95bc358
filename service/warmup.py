"""Warming a model up, and finding the size of batch that suits it and the machine."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import torch

from models.bundle import answer
from service.threads import use_threads

# Each size is run so often before it is served; the last calls are as fast as it gets.
_CALLS: Final = 3
# Sizes up to this are tried, by doubling, and for so long, in seconds: past that, a start would
# be felt, and a model so slow gains nothing from batches.
_LARGEST: Final = 8
_BUDGET_S: Final = 0.3
# A larger batch makes its first picture wait for its last; it must be faster by this much.
_GAIN: Final = 1.03


class Warm(NamedTuple):
    """What warming up found.

    Attributes:
        max_batch: The size up to which the model is warm: the one given, or the one chosen.
        one_s: Seconds that one picture takes on one thread.
    """

    max_batch: int
    one_s: float


def warm_up(
    graph: torch.jit.ScriptModule,
    size_px: int,
    max_batch: int,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Warm:
    """Run a graph on the calling thread until it is as fast as it gets.

    Args:
        graph: A bundle's graph.
        size_px: Edge S of its input.
        max_batch: Most pictures a batch; 0 chooses the smallest size that is within 3 % of
            the fastest, among 1, 2, 4 and 8.
        threads: With which a single picture may be run, too.
        clock: Seconds.

    Returns:
        What was found.
    """

    def seconds(count: int) -> float:
        pixels = torch.zeros((count, 3, size_px, size_px), dtype=torch.uint8)
        took = []
        for _ in range(_CALLS):
            began = clock()
            answer(graph, pixels)
            took.append(clock() - began)
        return min(took)

    if threads > 1:
        use_threads(threads)
        seconds(1)
    use_threads(1)
    if max_batch:
        one_s = seconds(1)
        for count in sorted({2, max_batch} - {1}):
            if count <= max_batch:
                seconds(count)
        return Warm(max_batch, one_s)
    began = clock()
    one_s = seconds(1)
    chosen, best, count, each = 1, one_s, 1, one_s
    # The next size takes as long as this one's pictures did, twice.
    while count < _LARGEST and clock() - began + 2 * _CALLS * count * each <= _BUDGET_S:
        count *= 2
        each = seconds(count) / count
        if each * _GAIN < best:
            chosen, best = count, each
    return Warm(chosen, one_s)
