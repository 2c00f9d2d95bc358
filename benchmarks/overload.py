"""Goodput and recovery under overload, and latency beside a thousand slow connections.

    python -m benchmarks.overload STORE [--seconds 60] [--connections 512] [--slow 1000] [--patient]

Takes two minutes. STORE is a folder of bundles; the service is started on it with the settings of
the environment, and gets images of 640 x 480.

Capacity is measured first (closed loop, 16 connections), before and after `--seconds` of twice as
many callers as may wait. They send again at once after a refusal, or with --patient after
Retry-After. The offered load is reported as a multiple of the capacity. Goodput is the rate of
correct answers meanwhile, against the mean capacity of before and after. Another caller sends one
image at a time throughout: recovery is the time from the end of the overload until its latency is
at most three times that before.

Then one ordinary caller (closed loop, 1 connection) is measured in turns without and with slow
connections, half of them within their headers and half within their bodies.

The load generator shares the cores with the service, and takes part of them.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.bench import Bench, generate
from benchmarks.serving.figures import percentile
from benchmarks.serving.pictures import SIZES, photographs
from benchmarks.serving.plan import Plan
from benchmarks.serving.processes import Server
from benchmarks.serving.wire import ask
from benchmarks.slow import slow_connections
from service.settings import Settings

_SIZE: Final = "640x480"
_CAPACITY_CONNECTIONS: Final = 16
_BEFORE: Final = 20  # single requests
_RECOVERED_FACTOR: Final = 3.0  # of the latency before the overload
_RECOVERY_LIMIT_S: Final = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("store", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=512)
    parser.add_argument("--slow", type=int, default=1000)
    parser.add_argument("--patient", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder),
            Path(folder),
            store=arguments.store,
            pictures={_SIZE: photographs(SIZES[_SIZE], count=8, seed=0)},
            seconds=max(1.0, arguments.seconds / 10),
            seed=0,
        )
        with bench.service() as server:
            _overload(bench, server, arguments)
            _slow(bench, server, arguments)
    return 0


def _overload(bench: Bench, server: Server, arguments: argparse.Namespace) -> None:
    request = Path(bench.requests(_SIZE, 1)[0]).read_bytes()
    alone_s = statistics.median(_one(server, request) for _ in range(_BEFORE))
    before = _rate(_closed(bench, server, _CAPACITY_CONNECTIONS))
    plan = Plan(
        port=server.port,
        requests=bench.requests(_SIZE, 1),
        expected=1,
        connections=arguments.connections,
        warm_s=min(2.0, arguments.seconds / 4),
        seconds=arguments.seconds,
        obey_retry_after=arguments.patient,
        drain_s=0.0,  # it ends with the last request, from which on recovery counts
    )
    probe = _Probe(server, request, _RECOVERED_FACTOR * alone_s)
    outcome = generate(plan, bench.folder)
    recovery_s = probe.recovered_after()
    after = _rate(_closed(bench, server, _CAPACITY_CONNECTIONS))
    capacity = (before + after) / 2
    goodput, refusals = _rate(outcome), outcome["refusals_ms"]
    offered = goodput + len(refusals) / outcome["window_s"]
    print(f"capacity: {before:.0f} pictures a second before, {after:.0f} after")
    print(
        f"offered: {offered:.0f} a second for {outcome['window_s']:.0f} s, "
        f"{offered / capacity:.1f} times the capacity"
    )
    print(f"goodput: {goodput:.0f} a second, {goodput / capacity:.0%} of capacity")
    print(
        f"accepted: p50 {percentile(outcome['latencies_ms'], 50):.0f}, "
        f"p99 {percentile(outcome['latencies_ms'], 99):.0f} ms of {Settings().deadline_s:g} s"
    )
    print(
        f"refused: {len(refusals)}, p50 {percentile(refusals, 50):.1f}, "
        f"p99 {percentile(refusals, 99):.1f} ms"
    )
    print(f"broken: {outcome['broken']}, failed: {outcome['failed']}")
    print(f"recovery: {recovery_s:.2f} s")


def _slow(bench: Bench, server: Server, arguments: argparse.Namespace) -> None:
    without: list[float] = []
    beside: list[float] = []
    for _ in range(arguments.repeats):
        without += _closed(bench, server, 1)["latencies_ms"]
        with slow_connections(server.port, arguments.slow) as slow:
            beside += _closed(bench, server, 1)["latencies_ms"]
        print(f"{arguments.slow} slow connections; closed by the service: {dict(slow.closed)}")
    for name, times in (("without", without), ("beside them", beside)):
        print(
            f"an ordinary caller {name}: {len(times)} answers, "
            f"p50 {percentile(times, 50):.1f}, p99 {percentile(times, 99):.1f} ms"
        )


def _closed(bench: Bench, server: Server, connections: int) -> dict[str, Any]:
    plan = bench.plan(server, bench.requests(_SIZE, 1), 1, connections=connections)
    return generate(plan, bench.folder)


def _rate(outcome: dict[str, Any]) -> float:
    return float(outcome["images"] / outcome["window_s"])


def _one(server: Server, request: bytes) -> float:
    began = time.perf_counter()
    answer = ask(server.port, request, timeout_s=_RECOVERY_LIMIT_S)
    assert answer.status == HTTPStatus.OK
    return time.perf_counter() - began


class _Probe:
    """Caller that sends one picture at a time, without a pause."""

    def __init__(self, server: Server, request: bytes, near_s: float) -> None:
        self._server, self._request, self._near_s = server, request, near_s
        self._overload_ended = threading.Event()
        self._recovered = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def recovered_after(self) -> float:
        """Return the seconds from now, the end of the overload, to the first fast answer."""
        began = time.perf_counter()
        self._overload_ended.set()
        self._recovered.wait(_RECOVERY_LIMIT_S)
        self._thread.join(_RECOVERY_LIMIT_S)
        return time.perf_counter() - began if self._recovered.is_set() else float("inf")

    def _ask(self) -> None:
        end = float("inf")
        while time.perf_counter() < end:
            if self._overload_ended.is_set() and end == float("inf"):
                end = time.perf_counter() + _RECOVERY_LIMIT_S
            began = time.perf_counter()
            try:
                status = ask(self._server.port, self._request, timeout_s=_RECOVERY_LIMIT_S).status
            except OSError:
                status = 0
            took = time.perf_counter() - began
            if self._overload_ended.is_set() and status == HTTPStatus.OK and took <= self._near_s:
                self._recovered.set()
                return


if __name__ == "__main__":
    sys.exit(main())
