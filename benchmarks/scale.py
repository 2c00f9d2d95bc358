"""Model of throughput and cost, from 1 to 10,000 cores and up to 10^9 pictures.

    python -m benchmarks.scale [--seed 0]

The costs of this program are measured, the offers of a provider are assumed; both are fields of
`Costs`. Each worker has one core and takes whole shards. Workers differ in speed, by some percent
at random, and 1 % of the machines are half as fast. A run ends with its last shard.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

CORES: Final = (1, 10, 100, 1_000, 10_000)
PROCESSES: Final = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Costs:
    """What a run costs: measured (m) as docs/scale.md states, or assumed (a).

    Attributes:
        core_s: Seconds of one core per picture, reading and decoding included (m).
        start_s: Start of a worker: imports and model (m).
        plan_names: Max names in one plan, for its memory; a larger archive is several jobs (m).
        listed_per_s: Names that one process lists per second in an object store (a).
        shard: Pictures per shard.
        read_twice: True for a tar file, which is read once for its index.
        stream_bytes_per_s: One sequential read from the store (a).
        picture_bytes: Size of a file (a).
        pictures_per_get: Pictures that one request returns.
        machine_cores: Cores of a machine (a).
        machine_bytes_per_s: Its network (a).
        store_bytes_per_s: All that the store delivers (a).
        store_gets_per_s: Requests that it answers, over all prefixes of the keys (a).
        shards_per_s: Shards that one queue hands out (a).
        spread: Standard deviation of the logarithm of a worker's speed (a).
        slow_share: Share of the machines that are half as fast (a).
        core_hour_usd, get_usd, list_usd: Prices of a core, a request and a listing request (a).
    """

    core_s: float = 0.013
    start_s: float = 5.0
    plan_names: int = 10**7
    listed_per_s: float = 10_000
    shard: int = 1000
    read_twice: bool = False
    stream_bytes_per_s: float = 100e6
    picture_bytes: float = 100_000
    pictures_per_get: int = 1
    machine_cores: int = 32
    machine_bytes_per_s: float = 1.25e9
    store_bytes_per_s: float = 50e9
    store_gets_per_s: float = 55_000
    shards_per_s: float = 500
    spread: float = 0.05
    slow_share: float = 0.01
    core_hour_usd: float = 0.04
    get_usd: float = 0.4e-6
    list_usd: float = 5e-6


@dataclass(frozen=True)
class Way:
    """A way to run: its name, its costs, and whether the shards are dealt out beforehand."""

    name: str
    costs: Costs
    dealt: bool = False


WAYS: Final = (
    Way("a file per picture, `--task I/N`", Costs(), dealt=True),
    Way("a file per picture, `--ray`", Costs()),
    Way(
        "tar files of 50,000, one per task",
        Costs(shard=50_000, read_twice=True, pictures_per_get=50, plan_names=50_000),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Result of a simulated run.

    Attributes:
        seconds: From its start to its last shard.
        efficiency: Time of the cores' work alone, at their mean speed, over `seconds`.
        bottleneck: What takes most of the rest; the cores if it is under 5 %.
        usd: Price of cores and requests.
    """

    seconds: float
    efficiency: float
    bottleneck: str
    usd: float


def simulate(pictures: int, cores: int, way: Way, *, seed: int = 0) -> Outcome:
    """Simulate one run."""
    costs = way.costs
    speeds = _speeds(cores, costs, seed)
    rates, limit = _rates(speeds, costs)
    packed = costs.read_twice
    jobs = 1 if packed else math.ceil(pictures / costs.plan_names)
    listing = 0.0 if packed else pictures / jobs / costs.listed_per_s * math.ceil(jobs / cores)
    index_s = costs.shard * costs.picture_bytes / costs.stream_bytes_per_s if packed else 0.0
    shard_s = costs.shard / rates + index_s
    shards = math.ceil(pictures / costs.shard)
    work = _dealt(shards, shard_s) if way.dealt else _queued(shards, shard_s)
    handing = 0.0 if way.dealt else shards / (costs.shards_per_s * (1 if packed else jobs))
    seconds = costs.start_s + listing + max(work, handing)
    ideal = pictures * costs.core_s / speeds.sum()
    flowing = pictures / rates.sum()
    losses = {
        "start of the workers": costs.start_s,
        "listing": listing + index_s * shards / cores,
        limit: flowing - ideal,
        "handing out shards": max(0.0, handing - work),
        "last shards": work - flowing - index_s * shards / cores,
    }
    requests = pictures / costs.pictures_per_get * (2 if packed else 1)
    lists = 0.0 if packed else pictures / 1000 * (max(1, cores // jobs) if way.dealt else 1)
    return Outcome(
        seconds,
        ideal / seconds,
        "cores" if ideal > 0.95 * seconds else max(losses, key=lambda name: losses[name]),
        cores * seconds / 3600 * costs.core_hour_usd
        + requests * costs.get_usd
        + lists * costs.list_usd,
    )


def _speeds(cores: int, costs: Costs, seed: int) -> NDArray[np.float64]:
    """Return the relative speed of each worker; those of a slow machine are half as fast."""
    random = np.random.default_rng(seed)
    speeds = np.exp(random.normal(0, costs.spread, cores))
    machines = math.ceil(cores / costs.machine_cores)
    slow = random.choice(machines, round(costs.slow_share * machines), replace=False)
    speeds[np.isin(np.arange(cores) // costs.machine_cores, slow)] /= 2
    return speeds


def _rates(speeds: NDArray[np.float64], costs: Costs) -> tuple[NDArray[np.float64], str]:
    """Return each worker's pictures per second, and the shared resource that limits them."""
    cores, read = len(speeds), costs.picture_bytes * (2 if costs.read_twice else 1)
    neighbours = min(cores, costs.machine_cores)
    limits = {
        "network of a machine": costs.machine_bytes_per_s / read / neighbours,
        "bytes of the store": costs.store_bytes_per_s / read / cores,
        "requests to the store": costs.store_gets_per_s * costs.pictures_per_get / cores,
    }
    limit = min(limits, key=lambda name: limits[name])
    return np.minimum(speeds / costs.core_s, limits[limit]), limit


def _dealt(shards: int, shard_s: NDArray[np.float64]) -> float:
    """Return the end of a run in which worker i takes every N-th shard from the i-th on."""
    own = (shards - 1 - np.arange(len(shard_s))) // len(shard_s) + 1
    return float((own * shard_s).max())


def _queued(shards: int, shard_s: NDArray[np.float64]) -> float:
    """Return the end of a run in which each worker takes the next shard when it has done one."""
    workers = shard_s[:shards]
    low, high = 0.0, shards * float(workers.max())
    for _ in range(100):  # the time at which the last shard is taken
        middle = (low + high) / 2
        taken = (middle // workers + 1).sum()
        low, high = (low, middle) if taken >= shards else (middle, high)
    return float(((high // workers + 1) * workers).max())


def run_table(pictures: int, *, seed: int = 0) -> list[tuple[str, ...]]:
    """Return a row per number of cores, and per way its time, efficiency, bottleneck and price."""
    rows = []
    for cores in CORES:
        cells = [f"{cores:,}"]
        for way in WAYS:
            found = simulate(pictures, cores, way, seed=seed)
            cells.append(
                f"{_duration(found.seconds)} ({found.efficiency:.0%}), "
                f"{_price(found.usd)}: {found.bottleneck}"
            )
        rows.append(tuple(cells))
    return rows


def bottleneck_cores(way: Way, pictures: int, *, seed: int = 0) -> int:
    """Return the cores, among 1, 2, 5, 10, ..., from which on the efficiency is below 80 %."""
    steps = [step * 10**power for power in range(5) for step in (1, 2, 5)]
    below = [simulate(pictures, cores, way, seed=seed).efficiency < 0.8 for cores in steps]
    last_good = max((index for index, bad in enumerate(below) if not bad), default=-1)
    return steps[last_good + 1] if last_good + 1 < len(steps) else 0


@dataclass(frozen=True)
class Finetuning:
    """Costs of a step of fine-tuning on several processes of one core each.

    Attributes:
        batch: Pictures per step.
        core_s: Seconds of one core per picture, forward and backward (m).
        gradient_bytes: Gradients of the last stage and the head (m).
        bytes_per_s: Network of a machine (a).
        latency_s: Of one message (a).
    """

    batch: int = 16
    core_s: float = 0.056
    gradient_bytes: float = 15e6
    bytes_per_s: float = 1.25e9
    latency_s: float = 0.0002

    def speedup(self, processes: int) -> float:
        """Return how many times faster a step is than in one process.

        Each process waits for the largest share of the batch, and for 2 (P - 1) messages in a ring.
        """
        alone = self.batch * self.core_s
        ring = (
            2
            * (processes - 1)
            * (self.gradient_bytes / processes / self.bytes_per_s + self.latency_s)
        )
        return alone / (math.ceil(self.batch / processes) * self.core_s + ring)


def finetuning_table() -> list[tuple[str, ...]]:
    """Return the speed-up of fine-tuning per number of processes, for two sizes of batch."""
    costs = Finetuning()
    large = replace(costs, batch=128)
    return [
        (f"{count}", f"{costs.speedup(count):.1f}", f"{large.speedup(count):.1f}")
        for count in PROCESSES
    ]


def _price(usd: float) -> str:
    return f"{usd:,.0f} $" if usd >= 10 else f"{usd:.2f} $"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return (
                f"{seconds / size:,.0f} {unit}"
                if seconds >= 10 * size
                else (f"{seconds / size:.1f} {unit}")
            )
    return f"{seconds:.0f} s"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args(argv).seed
    for pictures in (10**6, 10**9):
        print(f"\n{pictures:,} pictures: cores; " + "; ".join(way.name for way in WAYS))
        for row in run_table(pictures, seed=seed):
            print("| " + " | ".join(row) + " |")
        print([(way.name, bottleneck_cores(way, pictures, seed=seed)) for way in WAYS])
    print("\nprocesses; speed-up of fine-tuning, batches of 16; of 128")
    for row in finetuning_table():
        print("| " + " | ".join(row) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
