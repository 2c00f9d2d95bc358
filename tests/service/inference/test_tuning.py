"""Tuning: threads for a lone picture, and the size of batch that is chosen by measuring."""

import pytest
import torch
from torch import Tensor

from service.inference.tuning import ThreadPolicy, use_threads, warm_up


def test_use_threads_sets_the_threads_of_the_calling_thread() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(1)
        assert torch.get_num_threads() == 1
        use_threads(3)
        assert torch.get_num_threads() == 3
    finally:
        use_threads(before)


def test_thread_policy_uses_all_threads_while_they_are_faster() -> None:
    policy = ThreadPolicy(4, one_thread_s=1.0)
    for _ in range(100):
        assert policy.threads() == 4
        policy.record(4, 0.9)


def test_thread_policy_uses_one_thread_for_a_while_after_all_were_slower() -> None:
    policy = ThreadPolicy(4, one_thread_s=1.0)
    policy.record(4, 1.1)
    for _ in range(50):
        assert policy.threads() == 1
        policy.record(1, 2.0)
    assert policy.threads() == 4
    policy.record(4, 1.9)  # slower than one thread was before, faster than one thread is now
    assert policy.threads() == 4


class Model:
    """A model whose batches take the given seconds by size, and longer at its first calls."""

    def __init__(self, seconds_by_size: dict[int, float]) -> None:
        self.seconds_by_size = seconds_by_size
        self.calls: list[tuple[int, int]] = []
        self.slow = range(0)  # calls that something disturbs
        self.now_s = 0.0

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        size = len(pixels)
        self.calls.append((size, torch.get_num_threads()))
        first = sum(call[0] == size for call in self.calls) == 1 or len(self.calls) in self.slow
        self.now_s += self.seconds_by_size[size] * (10 if first else 1)
        return torch.zeros(1), torch.zeros(1)

    def warm(self, max_batch: int = 0, threads: int = 1) -> int:
        before = torch.get_num_threads()
        try:
            warm = warm_up(self, 8, max_batch, threads, largest=8, clock=lambda: self.now_s)
            assert warm.one_thread_s == pytest.approx(self.seconds_by_size[1])
            return warm.max_batch
        finally:
            torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds_by_size", "chosen"),
    [
        ({1: 1.0, 2: 1.6, 4: 2.4, 8: 4.6}, 8),  # larger is faster all the way
        ({1: 1.0, 2: 1.6, 4: 2.4, 8: 4.8}, 4),  # as fast as the smaller one: not worth the wait
        ({1: 1.0, 2: 1.99, 4: 3.98, 8: 7.96}, 1),
        ({1: 1.0, 2: 2.2, 4: 3.0, 8: 9.0}, 4),
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 1),
    ],
)
def test_warm_up_chooses_the_smallest_of_the_fastest_sizes(
    seconds_by_size: dict[int, float], chosen: int
) -> None:
    model = Model({size: seconds / 1000 for size, seconds in seconds_by_size.items()})
    assert model.warm() == chosen
    assert [size for size, _ in model.calls] == [1] * 3 + [1, 2, 4, 8] * 3


def test_warm_up_ignores_a_passing_disturbance() -> None:
    model = Model({1: 0.001, 2: 0.0016, 4: 0.0024, 8: 0.0046})
    model.slow = range(4, 8)  # the first turn of all sizes but one
    assert model.warm() == 8


def test_warm_up_tries_only_the_sizes_that_a_slow_model_can_afford() -> None:
    model = Model({1: 0.03, 2: 0.05, 4: 0.06, 8: 0.09})
    assert model.warm() == 2
    assert {size for size, _ in model.calls} == {1, 2}
    model = Model({1: 0.5})
    assert model.warm() == 1


@pytest.mark.parametrize(
    ("fixed", "sizes"), [(1, {1}), (2, {1, 2}), (8, {1, 2, 8}), (3, {1, 2, 3})]
)
def test_warm_up_keeps_a_given_size(fixed: int, sizes: set[int]) -> None:
    model = Model({1: 0.5, 2: 2.0, 3: 5.0, 8: 9.0})
    assert model.warm(fixed) == fixed
    assert {size for size, _ in model.calls} == sizes
    assert min(sum(size == call[0] for call in model.calls) for size in sizes) >= 2


def test_warm_up_runs_one_picture_on_all_threads_and_batches_on_one() -> None:
    model = Model({1: 0.001, 2: 0.002, 4: 0.004, 8: 0.008})
    model.warm(threads=2)
    assert model.calls[:3] == [(1, 2)] * 3
    assert {threads for _, threads in model.calls[3:]} == {1}
