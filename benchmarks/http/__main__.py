"""CPU milliseconds of the event loop's thread per request, by step, beside a minimal server.

    python -m benchmarks.http [--requests 200] [--repeats 9] [--json FILE]

Takes half a minute. The whole application answers requests of one image on one connection, with a
batcher that neither decodes nor runs a model; beside it, in turns, uvicorn with the same settings
and an application that reads the body and answers a constant. CPU time, not wall time: other
processes on the machine cost it warm caches only. Median of the repeats, lowest and highest in
brackets.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.http.servers import STEPS
from benchmarks.serving.figures import Spread, ratio
from benchmarks.serving.pictures import SIZES, photographs
from benchmarks.serving.wire import read_answer, request_bytes

_WAIT_S: Final = 120.0
# A large upload is sent this many times less often.
_LARGE_DIVISOR: Final = 5
_SPENT: Final = b"GET /spent HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_ALL: Final = "in all"

Spent = dict[str, float]


class Server:
    """Connection to one of the servers."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def measure(self, request: bytes, status: int, count: int) -> Spent:
        """Return the CPU milliseconds per request, by step and in all.

        Raises:
            RuntimeError: An answer had another status.
        """
        before = self._spent()
        for _ in range(count):
            answer = read_answer(self._ask(request))
            if answer is None or answer.status != status:
                raise RuntimeError(f"an answer was {answer}")
        return {step: 1000 * (s - before[step]) / count for step, s in self._spent().items()}

    def _spent(self) -> Spent:
        spent: Spent = json.loads(self._ask(_SPENT).partition(b"\r\n\r\n")[2])
        return spent

    def _ask(self, request: bytes) -> bytearray:
        self._connection.sendall(request)
        received = bytearray()
        while read_answer(received) is None:
            chunk = self._connection.recv(65536)
            if not chunk:
                raise RuntimeError("the server ended the connection")
            received += chunk
        return received


@contextlib.contextmanager
def _running(name: str) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http.servers", name, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
        )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_WAIT_S) as connection:
            yield Server(connection)
    finally:
        process.terminate()
        process.wait(_WAIT_S)


def _measure(requests: int, repeats: int) -> dict[str, dict[str, list[Spent]]]:
    """Return the CPU time of each case, of `ours` and the `bare` server, in pairs per repeat."""
    small, large = (
        request_bytes(photographs(size, count=1, seed=0), path="/predict", field="files")
        for size in SIZES.values()
    )
    found: dict[str, dict[str, list[Spent]]] = {}
    with _running("service") as service, _running("refusing") as full, _running("bare") as bare:
        cases = {
            "640x480": (service, small, 200, requests),
            "12 MP": (service, large, 200, -(-requests // _LARGE_DIVISOR)),
            "640x480, refused": (full, small, 429, requests),
        }
        for repeat in range(repeats + 1):
            for case, (ours, request, status, count) in cases.items():
                pair = {
                    "ours": ours.measure(request, status, count),
                    "bare": bare.measure(request, 200, count),
                }
                if repeat:  # the first one warms up
                    for side, spent in pair.items():
                        found.setdefault(case, {}).setdefault(side, []).append(spent)
    return found


def _by_step(spent: Spent) -> Spent:
    known = STEPS[:-1]
    return {
        "uvicorn and the kernel": spent[_ALL] - spent["application"],
        **{step: spent[step] for step in known},
        "layers, admission, sending": spent["application"] - sum(spent[step] for step in known),
        "**in all**": spent[_ALL],
    }


def _rows(found: dict[str, dict[str, list[Spent]]]) -> Iterator[list[str]]:
    yield ["ms of the event loop's thread a request", *found]
    steps = [[_by_step(spent) for spent in sides["ours"]] for sides in found.values()]
    for name in steps[0][0]:
        yield [name, *(Spread.of([spent[name] for spent in case]).text(3) for case in steps)]
    pairs = [[[s[_ALL] for s in side] for side in sides.values()] for sides in found.values()]
    yield ["bare server", *(Spread.of(bare).text(3) for _, bare in pairs)]
    yield ["ratio", *(ratio(ours, bare).text(1) for ours, bare in pairs)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write every repeat's figures here")
    arguments = parser.parse_args()
    found = _measure(arguments.requests, arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"{os.cpu_count()} cores, {arguments.repeats} repeats of {arguments.requests} requests\n")
    head, *rows = _rows(found)
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
