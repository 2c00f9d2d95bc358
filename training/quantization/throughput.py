"""Throughput of exported graphs, in pictures per second, measured as the service runs them."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch

from models.bundle.load import answer
from models.cpu import usable_cores

_BATCH_SIZE: Final = 4  # as the service's worker threads run it
_ROUNDS: Final = 5  # per graph, alternating; the median ratio counts
_BATCHES_PER_ROUND: Final = 1  # per thread


def measure_rates(
    graphs: dict[str, torch.jit.ScriptModule], *, input_px: int, rounds: int = _ROUNDS
) -> dict[str, list[float]]:
    """Return the rate of each graph in each round, with one single-threaded worker per core."""
    workers = usable_cores()
    pixels = torch.full((_BATCH_SIZE, 3, input_px, input_px), 128, dtype=torch.uint8)

    def run(graph: torch.jit.ScriptModule) -> None:
        for _ in range(_BATCHES_PER_ROUND):
            answer(graph, pixels)

    rates: dict[str, list[float]] = {name: [] for name in graphs}
    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool:
        for number in range(rounds + 1):  # the first is a warm-up: TorchScript compiles
            for name, graph in graphs.items():
                start = time.perf_counter()
                list(pool.map(run, [graph] * workers))
                if number:
                    elapsed = time.perf_counter() - start
                    rates[name].append(workers * _BATCHES_PER_ROUND * _BATCH_SIZE / elapsed)
    return rates
