"""Latency of the service at half its load, without and beside a training of the studio.

    python -m benchmarks.beside_training STORE DATA [--rounds 7] [--seconds 3] [--nice 5 10]

Takes about two minutes. STORE is a folder of bundles, DATA one of pictures to train on
(`python -m training sample DATA` draws one); some of them are the requests, so the model of STORE
should be trained on such pictures. The capacity is measured first (closed loop, 16 connections);
then half of it is offered (Poisson arrivals), in turns without a training (it is stopped) and
beside it at each niceness. So each round sees the same step of the training, and a slow minute of
the machine hits all turns. The training runs as the studio starts it, without cached features, and
starts again when it has ended.

Prints the median of the rounds with the lowest and the highest: p50 and p99, their ratio to those
without the training, and the cores that the training got. The target is a p99 of at most twice.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from benchmarks.serving.bench import Bench, generate
from benchmarks.serving.figures import Spread, percentile, ratio
from benchmarks.serving.processes import Server, family
from models.layout.files import is_picture
from studio.jobs import process
from studio.jobs.process import NICENESS, ProcessMark
from studio.runs.work import TRAINING

_SIZE: Final = "data"
_PICTURES: Final = 16
_CAPACITY_CONNECTIONS: Final = 16
_LOAD: Final = 0.5  # of the capacity
_MAX_CONNECTIONS: Final = 64
_SETTLE_S: Final = 0.5
_IMPORT_S: Final = 6.0  # before a training computes


class Training:
    """A training that runs for ever, as the studio runs it, and can be stopped for a while."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._folder = data, folder
        self._starts = 0
        self._mark: ProcessMark | None = None

    def go_on(self, niceness: int) -> Server:
        """Continue it at a priority, or start it again if it has ended."""
        if self._mark is None or not self._mark.is_alive():
            self._starts += 1
            out = self._folder / str(self._starts)
            out.mkdir(parents=True)
            _, self._mark = process.start(
                [*TRAINING, "fit", str(self._data.absolute()), "--out", str(out), "--no-promote"],
                log=self._folder / "training.log",
                environment=os.environ | {"FACEMASK_CACHE": str(out / "cache")},
                niceness=niceness,
            )
            time.sleep(_IMPORT_S)
        for pid in family(self._mark.pid):
            for thread in Path(f"/proc/{pid}/task").glob("*"):
                process.lower_priority(int(thread.name), niceness)
        self._mark.signal_group(signal.SIGCONT)
        return Server(self._mark.pid, 0, 0.0)

    def stop(self) -> None:
        """Stop it, without ending it."""
        if self._mark is not None:
            self._mark.signal_group(signal.SIGSTOP)

    def end(self) -> None:
        """End it."""
        if self._mark is not None:
            self._mark.signal_group(signal.SIGCONT)
            self._mark.end(grace_s=1.0)


def pictures_of(data: Path) -> list[bytes]:
    """Return some pictures of a folder, spread over its classes."""
    files = [path for path in sorted(data.glob("*/*")) if is_picture(PurePosixPath(path))]
    step = max(1, len(files) // _PICTURES)
    return [path.read_bytes() for path in files[::step]][:_PICTURES]


@dataclass
class Turns:
    """Figures of one kind of turn, one per round."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    all_ms: list[float] = field(default_factory=list)

    def add(self, latencies_ms: list[float], cores: float) -> None:
        """Add one turn."""
        self.p50.append(percentile(latencies_ms, 50))
        self.p99.append(percentile(latencies_ms, 99))
        self.cores.append(cores)
        self.all_ms += latencies_ms


def measure(
    bench: Bench,
    server: Server,
    training: Training,
    rate: float,
    *,
    rounds: int,
    nicenesses: Sequence[int],
) -> dict[int | None, Turns]:
    """Return the figures of the turns without the training (None), and at each niceness."""
    found: dict[int | None, Turns] = {kind: Turns() for kind in (None, *nicenesses)}
    kinds = list(found)
    plan = bench.plan(server, bench.requests(_SIZE, 1), 1, connections=_MAX_CONNECTIONS, rate=rate)
    for number in range(rounds):
        for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
            trained = training.go_on(kind or 0)
            if kind is None:
                training.stop()
            time.sleep(_SETTLE_S)
            began, cpu = time.perf_counter(), trained.cpu_s()
            latencies = generate(plan, bench.folder)["latencies_ms"]
            # An ended training has no processes to read the time of: it counts from its start.
            used = max(0.0, trained.cpu_s() - cpu)
            found[kind].add(latencies, used / (time.perf_counter() - began))
    return found


def show(found: dict[int | None, Turns]) -> None:
    """Print the figures."""
    without = found[None]
    for kind, turns in found.items():
        name = "without a training" if kind is None else f"beside it at nice {kind}"
        print(f"{name}:")
        for label, values, base in (
            ("p50", turns.p50, without.p50),
            ("p99", turns.p99, without.p99),
        ):
            times = "" if kind is None else f", {ratio(values, base).text(2)} times"
            print(f"  {label} {Spread.of(values).text()} ms{times}")
        pooled = percentile(turns.all_ms, 99) / percentile(without.all_ms, 99)
        print(f"  p99 of all rounds: {percentile(turns.all_ms, 99):.1f} ms, {pooled:.2f} times")
        if kind is not None:
            print(f"  the training got {Spread.of(turns.cores).text(2)} cores")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_training")
    parser.add_argument("store", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--nice", type=int, nargs="+", default=[NICENESS])
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what it has started
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(
            folder,
            folder,
            store=arguments.store,
            pictures={_SIZE: pictures_of(arguments.data)},
            seconds=arguments.seconds,
            seed=0,
        )
        with bench.service(first=bench.requests(_SIZE, 1)[0]) as server:
            plan = bench.plan(
                server, bench.requests(_SIZE, 1), 1, connections=_CAPACITY_CONNECTIONS
            )
            outcome = generate(plan, bench.folder)
            capacity = outcome["images"] / outcome["window_s"]
            print(f"capacity: {capacity:.0f} pictures per second; {_LOAD:.0%} of it is offered")
            training = Training(arguments.data, folder / "trainings")
            try:
                found = measure(
                    bench,
                    server,
                    training,
                    _LOAD * capacity,
                    rounds=arguments.rounds,
                    nicenesses=arguments.nice,
                )
            finally:
                training.end()
            show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
