"""Latency of the service at half its load, without and beside a training of the studio.

    python -m benchmarks.beside_training STORE DATA [--rounds 8] [--seconds 5] [--nice 10]

Takes two minutes per niceness. STORE is a folder of bundles, DATA one of pictures to train on
(`python -m training sample DATA` draws one); some of them are the requests, so the model of STORE
should be trained on such pictures. The capacity is measured first (closed loop, 16 connections);
then half of it is offered (Poisson arrivals), in turns with the training stopped (SIGSTOP) and
going on, so that each round sees another step of it, and a slow minute of the machine hits both.
The training runs as the studio starts it, without cached features, and starts again when it has
ended.

Prints the median of the rounds with the lowest and the highest: p99 without and beside, their
ratio, and the cores that the training got. The target is a ratio of at most 2.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from benchmarks.serving.bench import Bench, generate
from benchmarks.serving.figures import Spread, percentile, ratio
from benchmarks.serving.processes import Server
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

    def __init__(self, data: Path, folder: Path, niceness: int) -> None:
        self._data, self._folder, self._niceness = data, folder, niceness
        self._starts = 0
        self._mark: ProcessMark | None = None

    def go_on(self) -> ProcessMark:
        """Continue it, or start it again if it has ended."""
        if self._mark is None or not self._mark.is_alive():
            self._starts += 1
            out = self._folder / str(self._starts)
            out.mkdir()
            _, self._mark = process.start(
                [*TRAINING, "fit", str(self._data.absolute()), "--out", str(out), "--no-promote"],
                log=self._folder / "training.log",
                environment=os.environ | {"FACEMASK_CACHE": str(out / "cache")},
                niceness=self._niceness,
            )
            time.sleep(_IMPORT_S)
        self._mark.signal_group(signal.SIGCONT)
        return self._mark

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


@contextlib.contextmanager
def training(data: Path, folder: Path, niceness: int) -> Iterator[Training]:
    """Run a training until the end of the context."""
    folder.mkdir()
    running = Training(data, folder, niceness)
    try:
        yield running
    finally:
        running.end()


def measure(bench: Bench, server: Server, running: Training, rate: float, rounds: int) -> None:
    """Print latencies of turns without and beside the training."""

    def offer() -> dict[str, Any]:
        time.sleep(_SETTLE_S)
        plan = bench.plan(
            server, bench.requests(_SIZE, 1), 1, connections=_MAX_CONNECTIONS, rate=rate
        )
        return generate(plan, bench.folder)

    without: list[list[float]] = []
    beside: list[list[float]] = []
    cores = []
    for _ in range(rounds):
        mark = running.go_on()
        running.stop()
        without.append(offer()["latencies_ms"])
        mark = running.go_on()
        trained = Server(mark.pid, 0, 0.0)
        began, cpu = time.perf_counter(), trained.cpu_s()
        beside.append(offer()["latencies_ms"])
        if mark.is_alive():
            cores.append((trained.cpu_s() - cpu) / (time.perf_counter() - began))
    for percent in (50, 99):
        old, new = ([percentile(one, percent) for one in each] for each in (without, beside))
        print(
            f"p{percent}: {Spread.of(old).text()} ms without, {Spread.of(new).text()} ms beside "
            f"it, {ratio(new, old).text(2)} times"
        )
    pooled = [percentile([ms for one in each for ms in one], 99) for each in (without, beside)]
    print(f"p99 of all rounds: {pooled[0]:.1f} and {pooled[1]:.1f} ms: {pooled[1] / pooled[0]:.2f}")
    print(f"the training got {Spread.of(cores).text(2)} cores")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_training")
    parser.add_argument("store", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
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
            for niceness in arguments.nice:
                print(f"training at nice {niceness}:")
                with training(arguments.data, folder / f"nice{niceness}", niceness) as running:
                    measure(bench, server, running, _LOAD * capacity, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
