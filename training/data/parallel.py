"""Parallel work on many pictures, one single-threaded worker per core."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from models.cpu import usable_cores
from training.config import EXTRACTION_BATCH

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_chunks_parallel(
    items: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]
) -> Iterator[list[Result]]:
    """Run `work` on chunks of `EXTRACTION_BATCH` items; yield the results in order.

    A worker thread reads, decodes and runs its own small batches; two such workers beat a pool
    of decoders that feeds one forward pass on two threads. At most two chunks per worker wait.
    """
    workers = usable_cores()
    chunks = (items[at : at + EXTRACTION_BATCH] for at in range(0, len(items), EXTRACTION_BATCH))
    pending: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, "extract", initializer=lambda: torch.set_num_threads(1))
    try:
        for chunk in chunks:
            pending.append(pool.submit(work, chunk))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also if the caller is interrupted: chunks that have not started are dropped
        pool.shutdown(wait=True, cancel_futures=True)
