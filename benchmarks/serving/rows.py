"""Cases, and the result of one window of load."""

from dataclasses import dataclass
from typing import Final

SERVICE: Final = "service"
LIMIT: Final = "limit"


@dataclass(frozen=True)
class Case:
    """Images of one size, a number per request, and the numbers of connections."""

    size: str
    pictures: int
    connections: tuple[int, ...]


# Bodies in flight stay under 128 MB: more would measure the memory that holds them.
FULL: Final = (
    Case("640x480", 1, (1, 8, 32, 128)),
    Case("640x480", 16, (1, 8)),
    Case("12 MP", 1, (1, 8, 32)),
    Case("12 MP", 16, (2,)),
)
QUICK: Final = (
    Case("640x480", 1, (1, 32)),
    Case("640x480", 16, (4,)),
    Case("12 MP", 1, (8,)),
)


@dataclass(frozen=True)
class Row:
    """One window of load in one round.

    Attributes:
        round: Its number.
        server: `service`, `limit` or a peer.
        setting: Arrangement of the limit, or processes x threads of a peer.
        size: Of the pictures.
        pictures: Pictures per request.
        connections: In parallel; 0 for the limit.
        load: `closed`, `open 50 %`, `overload` ...
        rate: Good answers, in pictures per second.
        p50_ms, p95_ms, p99_ms: Of good answers; for the limit, of its batches.
        refused: Answers 429 and 503 in the window.
        refusal_p50_ms, refusal_p99_ms: Latency of those.
        bad: Wrong, failed or missing answers.
        server_ms: CPU milliseconds of the server per picture.
        generator_ms: CPU milliseconds of the load generator per picture.
        resident_mb: Of the server, after the window.
        first_answer_s: Seconds from the start of the server's process to its first correct answer.
    """

    round: int
    server: str
    setting: str
    size: str
    pictures: int
    connections: int
    load: str
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused: int = 0
    refusal_p50_ms: float = 0.0
    refusal_p99_ms: float = 0.0
    bad: int = 0
    server_ms: float = 0.0
    generator_ms: float = 0.0
    resident_mb: float = 0.0
    first_answer_s: float = 0.0
