"""A run: score the shards of a plan that are missing in the output."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, Protocol

import pyarrow as pa

from scoring.inputs.entry import Entry, Input, Unreadable
from scoring.output import Output
from scoring.plan import Shard

BATCH: Final = 8
"""Pictures that a thread reads, decodes and answers together, in one forward pass."""

_SHARDS_IN_FLIGHT: Final = 2  # so that no thread waits for the last batch of a shard


class Scorer(Protocol):
    """Turns the bytes of pictures into rows."""

    columns: pa.Schema

    def rows(
        self, entries: Sequence[Entry], contents: Sequence[bytes | Unreadable]
    ) -> list[dict[str, Any]]:
        """Return one row per entry, in order; called on several threads."""


def score_shards(
    source: Input,
    shards: Iterable[Shard],
    scorer: Scorer,
    output: Output,
    *,
    threads: int,
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Score shards and write each as soon as it is complete.

    Args:
        source: Reads the entries of the shards.
        shards: Shards to score.
        scorer: The model.
        output: Takes the shards.
        threads: Batches at a time; each is read, decoded and run on one thread.
        progress: Called with the number of inputs of each batch that is done.

    Raises:
        OutputUnusable: The output does not take a shard.
    """

    def score(batch: Sequence[Entry]) -> list[dict[str, Any]]:
        rows = scorer.rows(batch, source.read(batch))
        progress(len(batch))
        return rows

    in_flight: deque[tuple[Shard, list[Future[list[dict[str, Any]]]]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="scoring") as pool:
        try:
            for shard in shards:
                batches = _batches(shard.entries())
                in_flight.append((shard, [pool.submit(score, batch) for batch in batches]))
                if len(in_flight) >= _SHARDS_IN_FLIGHT:
                    _finish(*in_flight.popleft(), scorer, output)
            while in_flight:
                _finish(*in_flight.popleft(), scorer, output)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _finish(
    shard: Shard, futures: Sequence["Future[list[dict[str, Any]]]"], scorer: Scorer, output: Output
) -> None:
    rows = [row for future in futures for row in future.result()]
    output.write_shard(shard.name, pa.Table.from_pylist(rows, schema=scorer.columns))


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    rest = iter(entries)
    while batch := list(islice(rest, BATCH)):
        yield batch
