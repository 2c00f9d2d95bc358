"""One round: limit, service and peers one after the other, on the same images."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import peers
from benchmarks.serving.bench import FIELD, Bench, LimitProcess, generate
from benchmarks.serving.figures import percentile
from benchmarks.serving.processes import Server, free_port, running
from benchmarks.serving.rows import LIMIT, SERVICE, Case, Row

_OVERLOAD_CONNECTIONS: Final = 128
_OVERLOAD_WAITING: Final = 32
_PEER_CONNECTIONS: Final = (8, 32)
_OPEN_CONNECTIONS: Final = 256
_OPEN_SHARES: Final = (0.5, 0.9)


def _blank(number: int, server: str, setting: str, case: Case) -> Row:
    nan = float("nan")
    return Row(number, server, setting, case.size, case.pictures, 0, "closed", 0, nan, nan, nan)


def measure_limit(bench: Bench, limit: LimitProcess, number: int, case: Case) -> list[Row]:
    """Measure the arrangements of the limit on a case's images."""
    rows = []
    for arrangement in ("lanes", "pool", "alone"):
        if arrangement == "alone" and case.pictures > 1:
            continue
        result = limit.measure(arrangement, bench.files[case.size], bench.seconds)
        times = result["batch_ms"]
        rows.append(
            replace(
                _blank(number, LIMIT, arrangement, case),
                rate=result["rate"],
                p50_ms=percentile(times, 50),
                p95_ms=percentile(times, 95),
                p99_ms=percentile(times, 99),
            )
        )
    return rows


def measure_service(
    bench: Bench, limit: LimitProcess, number: int, cases: Sequence[Case]
) -> Iterator[Row]:
    """Measure the service under all loads, and the limit before each kind of pictures."""
    capacity = 0.0
    with bench.service() as server:
        for case in cases:
            yield from measure_limit(bench, limit, number, case)
            blank = _blank(number, SERVICE, "", case)
            rows = [
                bench.closed(server, case, connections, blank, FIELD)
                for connections in case.connections
            ]
            yield from rows
            if case == cases[0]:
                capacity = max(row.rate for row in rows)
                yield from _open(bench, server, case, blank, capacity)
    with bench.service(FACEMASK_MAX_WAITING=str(_OVERLOAD_WAITING)) as server:
        yield from _overload(bench, server, _blank(number, SERVICE, "", cases[0]), cases[0])


def _open(bench: Bench, server: Server, case: Case, blank: Row, capacity: float) -> Iterator[Row]:
    for share in _OPEN_SHARES:
        plan = bench.plan(
            server,
            bench.requests(case.size, case.pictures),
            case.pictures,
            connections=_OPEN_CONNECTIONS,
            rate=share * max(capacity, 1.0) / case.pictures,
            seed=bench.seed + blank.round,
        )
        yield bench.drive(server, plan, replace(blank, load=f"open {share:.0%}"))


def _overload(bench: Bench, server: Server, blank: Row, case: Case) -> Iterator[Row]:
    """Measure more connections than may wait: callers that obey Retry-After, and that do not."""
    for load, patient in (("overload", True), ("overload, no pause", False)):
        plan = bench.plan(
            server,
            bench.requests(case.size, case.pictures),
            case.pictures,
            connections=_OVERLOAD_CONNECTIONS,
            obey_retry_after=patient,
        )
        row = replace(blank, connections=_OVERLOAD_CONNECTIONS, load=load)
        yield bench.drive(server, plan, row)


def measure_peer(
    bench: Bench, number: int, name: str, python: Path, model: Path, options: list[peers.Setting]
) -> Iterator[Row]:
    """Measure a peer at each of its settings, one picture per request."""
    for setting in options:
        with bench.peer(name, python, model, setting) as server:
            for size in bench.files:
                case = Case(size, 1, _PEER_CONNECTIONS)
                blank = _blank(number, name, setting.name, case)
                for connections in case.connections:
                    yield bench.closed(server, case, connections, blank, peers.PEERS[name].field)


def check_generator(bench: Bench) -> list[dict[str, Any]]:
    """Measure the generator's rate and CPU time against a server that does nothing."""
    port = free_port()
    found = []
    first = Path(bench.requests("640x480", 1)[0]).read_bytes()
    with running(
        [sys.executable, "-m", "benchmarks.serving.stub", str(port)],
        port=port,
        request=first,
        environment={},
        log=bench.logs / "stub.log",
    ) as server:
        for size in bench.files:
            plan = bench.plan(server, bench.requests(size, 1), 1, connections=32)
            outcome = generate(plan, bench.folder)
            found.append(
                {
                    "size": size,
                    "rate": outcome["images"] / outcome["window_s"],
                    "cpu_ms": 1000 * outcome["cpu_s"] / max(outcome["all_images"], 1),
                }
            )
    return found


def soak(bench: Bench, server: Server, requests: Sequence[str], count: int) -> list[dict[str, Any]]:
    """Send `count` requests; return the resident memory after each tenth of them."""
    steps = []
    for tenth in range(10):
        size = count * (tenth + 1) // 10 - count * tenth // 10
        plan = replace(bench.plan(server, requests, 1, connections=8), warm_s=0.0, count=size)
        outcome = generate(plan, bench.folder)
        steps.append(
            {
                "requests": count * (tenth + 1) // 10,
                "answered": outcome["all_images"],
                "resident_mb": server.resident_mb(),
            }
        )
    return steps
