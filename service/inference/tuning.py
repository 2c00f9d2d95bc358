"""Tuning at run time: number of PyTorch's threads, warm-up, and batch size."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

# Lone pictures that are run on one thread before all threads are tried again.
_PICTURES_ON_ONE_THREAD: Final = 50
# Calls per batch size before it is served; the last ones run at full speed.
_WARM_UP_CALLS: Final = 3
# Sizes are tried for about this long: longer would delay the start noticeably, and a slower model
# gains nothing from batches.
_TRIALS_BUDGET_S: Final = 0.4
# A larger batch makes its first picture wait for its last; it must be faster by this factor.
_MIN_GAIN: Final = 1.03


def use_threads(count: int) -> None:
    """Set the number of threads that PyTorch uses for the calling thread.

    Read the number before setting it: a thread's first use adopts the last setting of any thread.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


class ThreadPolicy:
    """Number of threads for a lone picture: all of them, while that is faster than one.

    Threads synchronise many times per forward pass. If another program uses a core, all of them
    wait for it, and several threads can take ten times as long as one. So each pass is compared
    with the last pass on one thread, and if that was faster, one thread is used for a while.
    """

    def __init__(self, threads: int, one_thread_s: float) -> None:
        """Create the policy from the number of threads, and the seconds of a pass on one."""
        self._threads = threads
        self._one_thread_s = one_thread_s
        self._pictures_left = 0  # to run on one thread

    def threads(self) -> int:
        """Return the number of threads for the next lone picture."""
        return 1 if self._pictures_left else self._threads

    def record(self, threads: int, seconds: float) -> None:
        """Record the seconds of a lone picture on a number of threads."""
        if threads == 1:
            self._one_thread_s = seconds
            self._pictures_left = max(0, self._pictures_left - 1)
        elif seconds > self._one_thread_s:
            self._pictures_left = _PICTURES_ON_ONE_THREAD


class WarmUp(NamedTuple):
    """Result of warming up.

    Attributes:
        max_batch: Batch size up to which the model is warm: the one given, or the one chosen.
        one_thread_s: Seconds that one picture takes on one thread.
    """

    max_batch: int
    one_thread_s: float


def warm_up(
    run: Callable[[Tensor], object],
    size_px: int,
    max_batch: int,
    threads: int,
    *,
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Run a model on the calling thread until it runs at full speed.

    Args:
        run: Takes a batch, uint8 (N, 3, S, S).
        size_px: Edge S of the model's input.
        max_batch: Max pictures per batch; 0 chooses the smallest size that is within 3 % of
            the fastest, among 1, 2, 4, ... `largest`.
        threads: Number of threads that may run a single picture, too.
        largest: Largest size to try.
        clock: Returns seconds.
    """

    def seconds(size: int) -> float:
        pixels = torch.zeros((size, 3, size_px, size_px), dtype=torch.uint8)
        began = clock()
        run(pixels)
        return clock() - began

    if threads > 1:
        use_threads(threads)
        for _ in range(_WARM_UP_CALLS):
            seconds(1)
    use_threads(1)
    for _ in range(_WARM_UP_CALLS):
        one_s = seconds(1)
    sizes = sorted({1, min(2, max_batch), max_batch}) if max_batch else _affordable(one_s, largest)
    fastest = {1: one_s}
    # Sizes take turns, so that a temporary load of the machine affects all of them.
    for _ in range(_WARM_UP_CALLS):
        for size in sizes:
            fastest[size] = min(seconds(size), fastest.get(size, float("inf")))
    if max_batch:
        return WarmUp(max_batch, fastest[1])
    best = min(fastest[size] / size for size in sizes)
    chosen = next(size for size in sizes if fastest[size] / size <= best * _MIN_GAIN)
    return WarmUp(chosen, fastest[1])


def _affordable(one_s: float, largest: int) -> list[int]:
    """Return the sizes that fit the trials' budget if time grows linearly with the size."""
    sizes = [1]
    while (
        2 * sizes[-1] <= largest
        and _WARM_UP_CALLS * (sum(sizes) + 2 * sizes[-1]) * one_s <= _TRIALS_BUDGET_S
    ):
        sizes.append(2 * sizes[-1])
    return sizes
