"""All threads for a picture that is alone, while they are the faster way."""

import torch

from service.inference.tuning import Choice, use_threads


def test_the_number_of_threads_is_the_calling_thread_s() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(1)
        assert torch.get_num_threads() == 1
        use_threads(3)
        assert torch.get_num_threads() == 3
    finally:
        use_threads(before)


def test_all_threads_are_used_while_they_are_faster() -> None:
    choice = Choice(4, one_s=1.0)
    for _ in range(100):
        assert choice.threads() == 4
        choice.took(4, 0.9)


def test_one_is_kept_to_for_a_while_after_all_were_slower() -> None:
    choice = Choice(4, one_s=1.0)
    choice.took(4, 1.1)
    for _ in range(50):
        assert choice.threads() == 1
        choice.took(1, 2.0)
    assert choice.threads() == 4
    choice.took(4, 1.9)  # slower than one was before, faster than one is now
    assert choice.threads() == 4
