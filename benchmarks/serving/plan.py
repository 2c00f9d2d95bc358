"""Input of the load generator, and its result."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """Requests to send, and for how long.

    Attributes:
        port: Port on 127.0.0.1.
        requests: Files with one HTTP request each; sent in turn.
        expected: Number of predictions in a correct answer.
        connections: Max number of connections.
        warm_s: Seconds of warm-up, which do not count.
        seconds: Seconds that count; longer, until each connection was answered twice.
        rate: Requests per second, Poisson arrivals; 0 for a closed loop.
        count: Number of requests to send, all of which count; 0 for as many as the time allows.
        drain_s: Seconds to wait for answers after the last request.
        obey_retry_after: Pause a refused connection for the seconds of Retry-After.
        seed: Seed of the arrivals.
    """

    port: int
    requests: Sequence[str]
    expected: int
    connections: int
    warm_s: float = 0.5
    seconds: float = 5.0
    rate: float = 0.0
    count: int = 0
    drain_s: float = 30.0
    obey_retry_after: bool = True
    seed: int = 0


@dataclass
class Outcome:
    """Result of the part of the load that counts; latencies are of good answers only.

    Attributes:
        images: Pictures answered in the window.
        window_s: Length of the window, in seconds.
        latencies_ms: From when a request was due (open loop) or sent (closed loop).
        refusals_ms: The same for 429 and 503.
        broken: 200 with other than the predictions expected, or no HTTP.
        failed: Other statuses and torn connections, by kind.
        unanswered: Requests still open at the end of the wait.
        all_images: Pictures answered in the whole run, for the CPU time of the whole run.
        cpu_s: CPU seconds of the generator in the whole run.
    """

    images: int = 0
    window_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    refusals_ms: list[float] = field(default_factory=list)
    broken: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    requests: int = 0
    all_images: int = 0
    cpu_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"failed": dict(self.failed)}


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the moments of a Poisson process of `rate` per second within `seconds`."""
    source = random.Random(seed)
    moments: list[float] = []
    now = source.expovariate(rate)
    while now < seconds:
        moments.append(now)
        now += source.expovariate(rate)
    return moments
