"""Work on many pictures, spread over as many one-thread lanes as there are cores."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from models.cpu import usable_cores
from training.config import EXTRACTION_BATCH

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_lanes(
    items: Sequence[Item], work: Callable[[Sequence[Item]], list[Done]]
) -> Iterator[list[Done]]:
    """Run `work` on chunks of `EXTRACTION_BATCH`; yield results in order, few in flight.

    A lane reads, decodes and runs its own small batches on one thread; two such lanes beat a
    pool of decoders before one forward on two threads.
    """
    lanes = usable_cores()
    chunks = (items[at : at + EXTRACTION_BATCH] for at in range(0, len(items), EXTRACTION_BATCH))
    flying: deque[Future[list[Done]]] = deque()
    pool = ThreadPoolExecutor(lanes, "lane", initializer=lambda: torch.set_num_threads(1))
    try:
        for chunk in chunks:
            flying.append(pool.submit(work, chunk))
            if len(flying) > 2 * lanes:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
    finally:  # also when the caller is interrupted: what has not begun is dropped
        pool.shutdown(wait=True, cancel_futures=True)
