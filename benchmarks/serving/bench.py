"""Resources of a round: images as files and requests, server processes, the load generator."""

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from benchmarks.serving import peers
from benchmarks.serving.figures import percentile
from benchmarks.serving.plan import Plan
from benchmarks.serving.processes import Server, ServerFailed, free_port, running
from benchmarks.serving.rows import Case, Row
from benchmarks.serving.wire import request_bytes

FIELD: Final = "files"
_LIMIT_S: Final = 120.0


class LimitProcess:
    """The in-process limit, kept loaded and idle between its turns."""

    def __init__(self, bundle: Path, log: Path) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.serving.limit", str(bundle)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> "LimitProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # it died with something left to read
            self._process.communicate()

    def measure(self, arrangement: str, pictures: Sequence[Path], seconds: float) -> dict[str, Any]:
        """Run one arrangement for some seconds."""
        wanted = {
            "arrangement": arrangement,
            "pictures": [str(path) for path in pictures],
            "seconds": seconds,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died, and does not answer either
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], _LIMIT_S + 2 * seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise ServerFailed(f"the in-process limit did not answer: see {self._log}")
        result: dict[str, Any] = json.loads(line)
        return result


class Bench:
    """Everything that a round needs, made once."""

    def __init__(
        self,
        folder: Path,
        logs: Path,
        *,
        store: Path,
        pictures: dict[str, list[bytes]],
        seconds: float,
        seed: int,
    ) -> None:
        """Write the pictures, alone for the limit and as requests for the servers."""
        self.folder, self.logs, self.store = folder, logs, store
        self.seconds, self.seed = seconds, seed
        self.files: dict[str, list[Path]] = {}
        self._requests: dict[tuple[str, int, str], list[str]] = {}
        self._pictures = pictures
        for size, encoded in pictures.items():
            self.files[size] = []
            for index, data in enumerate(encoded):
                path = folder / f"{size}-{index}.jpg"
                path.write_bytes(data)
                self.files[size].append(path)

    def requests(self, size: str, pictures: int, field: str = FIELD) -> list[str]:
        """Files of whole requests: each begins at another picture of the rotation."""
        key = (size, pictures, field)
        if key not in self._requests:
            encoded = self._pictures[size]
            paths = []
            for start in range(len(encoded)):
                chosen = [encoded[(start + step) % len(encoded)] for step in range(pictures)]
                path = self.folder / f"{size}-{pictures}-{field}-{start}.http"
                path.write_bytes(request_bytes(chosen, path="/predict", field=field))
                paths.append(str(path))
            self._requests[key] = paths
        return self._requests[key]

    @contextlib.contextmanager
    def service(self, first: str | None = None, **settings: str) -> Iterator[Server]:
        """Run the service on the bundle, with the environment's settings and these.

        Args:
            first: File of the first request, by default one of 640 x 480.
            settings: By the names of their variables.
        """
        port = free_port()
        environment = {
            "FACEMASK_STORE": str(self.store),
            "FACEMASK_HOST": "127.0.0.1",
            "FACEMASK_PORT": str(port),
        }
        with running(
            [sys.executable, "-m", "service"],
            port=port,
            request=Path(first or self.requests("640x480", 1)[0]).read_bytes(),
            environment=environment | settings,
            log=self.logs / "service.log",
        ) as server:
            yield server

    @contextlib.contextmanager
    def peer(
        self, name: str, python: Path, model: Path, setting: peers.Setting
    ) -> Iterator[Server]:
        """Run a peer on the plain model."""
        port = free_port()
        first = self.requests("640x480", 1, peers.PEERS[name].field)[0]
        with running(
            peers.command(name, python, setting, port),
            port=port,
            request=Path(first).read_bytes(),
            environment=peers.environment(model, setting, port),
            log=self.logs / f"{name}.log",
        ) as server:
            yield server

    def plan(self, server: Server, requests: Sequence[str], pictures: int, **more: Any) -> Plan:
        return Plan(
            port=server.port,
            requests=requests,
            expected=pictures,
            warm_s=min(1.0, self.seconds / 2),
            seconds=self.seconds,
            **more,
        )

    def drive(self, server: Server, plan: Plan, row: Row) -> Row:
        """Load a server as planned; the row comes back with the figures."""
        cpu = server.cpu_s()
        outcome = generate(plan, self.folder)
        cpu = server.cpu_s() - cpu
        images = max(outcome["all_images"], 1)
        latencies, refusals = outcome["latencies_ms"], outcome["refusals_ms"]
        return replace(
            row,
            rate=outcome["images"] / outcome["window_s"] if outcome["window_s"] > 0 else 0.0,
            p50_ms=percentile(latencies, 50),
            p95_ms=percentile(latencies, 95),
            p99_ms=percentile(latencies, 99),
            refused=len(refusals),
            refusal_p50_ms=percentile(refusals, 50) if refusals else 0.0,
            refusal_p99_ms=percentile(refusals, 99) if refusals else 0.0,
            bad=outcome["broken"] + sum(outcome["failed"].values()) + outcome["unanswered"],
            server_ms=1000 * cpu / images,
            generator_ms=1000 * outcome["cpu_s"] / images,
            resident_mb=server.resident_mb(),
            first_answer_s=server.first_answer_s,
        )

    def closed(self, server: Server, case: Case, connections: int, blank: Row, field: str) -> Row:
        plan = self.plan(
            server,
            self.requests(case.size, case.pictures, field),
            case.pictures,
            connections=connections,
        )
        return self.drive(server, plan, replace(blank, connections=connections, load="closed"))


def generate(plan: Plan, folder: Path) -> dict[str, Any]:
    """Run the load generator in a process of its own."""
    path = folder / "plan.json"
    path.write_text(json.dumps(plan.__dict__))
    patience_s = (plan.warm_s + plan.seconds) * 8 + plan.drain_s + plan.count + 30
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load", str(path)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=patience_s,
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome
