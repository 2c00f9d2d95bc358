"""How many threads PyTorch uses, and when more than one is worth it."""

from typing import Final

import torch

# Lone pictures that are run on one thread before all threads are tried again.
_REST: Final = 50


def use_threads(count: int) -> None:
    """Set how many threads PyTorch uses for what the calling thread asks of it.

    Asking first matters: a thread's first use takes over what any thread has set last.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


class Choice:
    """Threads for a picture that is alone: all of them, while that is the faster way.

    They wait for one another many times in a forward pass. Where something else uses a core
    they wait for that, too, and several threads can take ten times as long as one. So each
    pass is compared with what one thread last took, and one is kept to for a while if it won.
    """

    def __init__(self, threads: int, one_s: float) -> None:
        """Take how many threads there are, and the seconds that a pass takes on one."""
        self._all = threads
        self._one_s = one_s
        self._rest = 0

    def threads(self) -> int:
        """With how many to run the next picture that is alone."""
        return 1 if self._rest else self._all

    def took(self, threads: int, seconds: float) -> None:
        """Learn how long that took."""
        if threads == 1:
            self._one_s = seconds
            self._rest = max(0, self._rest - 1)
        elif seconds > self._one_s:
            self._rest = _REST
