"""Warming a model up, and finding the size of batch that suits it and the machine."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from service.inference.tuning import use_threads

# Each size is run so often before it is served; the last calls are as fast as it gets.
_CALLS: Final = 3
# Sizes are tried for about so long, in seconds: past that, a start would be felt, and a model so
# slow gains nothing from batches.
_BUDGET_S: Final = 0.4
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
    run: Callable[[Tensor], object],
    size_px: int,
    max_batch: int,
    threads: int,
    *,
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Warm:
    """Run a model on the calling thread until it is as fast as it gets.

    Args:
        run: Answers a batch, uint8 (N, 3, S, S).
        size_px: Edge S of its input.
        max_batch: Most pictures a batch; 0 chooses the smallest size that is within 3 % of
            the fastest, among 1, 2, 4, ... `largest`.
        threads: With which a single picture may be run, too.
        largest: Size that is tried at most.
        clock: Seconds.

    Returns:
        What was found.
    """

    def seconds(count: int) -> float:
        pixels = torch.zeros((count, 3, size_px, size_px), dtype=torch.uint8)
        began = clock()
        run(pixels)
        return clock() - began

    if threads > 1:
        use_threads(threads)
        for _ in range(_CALLS):
            seconds(1)
    use_threads(1)
    for _ in range(_CALLS):
        one_s = seconds(1)
    sizes = sorted({1, min(2, max_batch), max_batch}) if max_batch else _affordable(one_s, largest)
    fastest = {1: one_s}
    # Sizes take turns, so that what disturbs the machine for a while disturbs them all.
    for _ in range(_CALLS):
        for count in sizes:
            fastest[count] = min(seconds(count), fastest.get(count, float("inf")))
    if max_batch:
        return Warm(max_batch, fastest[1])
    best = min(fastest[count] / count for count in sizes)
    chosen = next(count for count in sizes if fastest[count] / count <= best * _GAIN)
    return Warm(chosen, fastest[1])


def _affordable(one_s: float, largest: int) -> list[int]:
    """Sizes that can be tried in the time there is, if a batch takes as long as its pictures."""
    sizes = [1]
    while 2 * sizes[-1] <= largest and _CALLS * (sum(sizes) + 2 * sizes[-1]) * one_s <= _BUDGET_S:
        sizes.append(2 * sizes[-1])
    return sizes
