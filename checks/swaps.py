"""Shows that model swaps under load lose no request, mix no answer and keep no memory.

    python -m checks.swaps [--swaps 100] [--clients 8] [--arch mobilenet_v3_small]

Takes 5 to 10 minutes for 100 swaps. Two models that differ in their heads are served alternately
while clients send requests without a pause: the second one is published anew each time, the first
one is promoted again. Every response must be 200, with the scores of the model that it names.
Exits with 1 otherwise.
"""

import argparse
import dataclasses
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.serving.bundles import make_backbone, make_head, publish_bundle
from benchmarks.serving.pictures import SIZES, photographs
from benchmarks.serving.processes import free_port, running
from benchmarks.serving.wire import request_bytes
from models.bundle.load import Bundle
from models.bundle.store import promote, prune
from models.imaging.decode import decode_image

_WAIT_S: Final = 60.0
_SWAPS_PER_SAMPLE: Final = 10  # of the service's memory
_MAX_PRINTED_FAILURES: Final = 10
# Scores vary by less with the batch size, and between the two models by far more.
_TOLERANCE: Final = 1e-3
_BIAS: Final = 2.0
_POLL_S: Final = 0.05

Answers = Mapping[str, Sequence[Sequence[float]]]
"""Expected scores by model (`model_of` its version) and image."""


def model_of(version: str) -> str:
    """Return the part of a version that names its model: the beginning of its checksum."""
    return version.rpartition("-")[2]


def expected_answers(bundle: Bundle, pictures: Sequence[bytes]) -> list[list[float]]:
    """Return a model's scores of images, each in a batch of its own."""
    size = bundle.manifest.input_px
    pixels = [decode_image(picture, size=size).unsqueeze(0) for picture in pictures]
    return [bundle.answer(one)[0][0].tolist() for one in pixels]


class Load:
    """Concurrent clients that send requests without a pause and check each response."""

    def __init__(
        self, port: int, pictures: Sequence[bytes], expected: Answers, *, clients: int
    ) -> None:
        """Start the clients."""
        self._port, self._pictures, self._expected = port, pictures, expected
        self._lock = threading.Condition()
        self._stopped = False
        self.answered = [0] * clients
        self._last = [""] * clients  # version that each client was answered by last
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def wait_for_version(self, version: str) -> float:
        """Wait until a version answers every client; return the time of its first answer.

        Raises:
            TimeoutError: A client is not answered by it in time.
        """
        with self._lock:
            come = self._lock.wait_for(lambda: version in self._last, _WAIT_S)
            first = time.perf_counter()
            come = come and self._lock.wait_for(lambda: {version} == set(self._last), _WAIT_S)
        if not come:
            raise TimeoutError(
                f"{version} does not answer every client: {self.failures[:_MAX_PRINTED_FAILURES]}"
            )
        return first

    def stop(self) -> None:
        """Stop the clients, each after its current response."""
        self._stopped = True
        for thread in self._threads:
            thread.join(_WAIT_S)

    def _run(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_WAIT_S)
        index = client
        while not self._stopped:
            index = (index + 1) % len(self._pictures)
            try:
                version = self._answer(connection, index)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                connection.close()
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
                continue
            with self._lock:
                self.answered[client] += 1
                self._last[client] = version
                self._lock.notify_all()
        connection.close()

    def _answer(self, connection: http.client.HTTPConnection, index: int) -> str:
        connection.request(
            "POST", "/predict", self._pictures[index], {"Content-Type": "image/jpeg"}
        )
        response = connection.getresponse()
        body = response.read()
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"{response.status} {body[:200]!r}")
        document = json.loads(body)
        (entry,) = document["predictions"]
        version: str = document["model"]["version"]
        scores = list(entry["scores"].values())
        expected = self._expected[model_of(version)][index]
        if len(scores) != len(expected) or max(map(_gap, scores, expected)) > _TOLERANCE:
            raise ValueError(f"{version} is named as the model of {scores}, and answers {expected}")
        return version


def _gap(one: float, other: float) -> float:
    return abs(one - other)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a run.

    Attributes:
        answered: Number of correct responses.
        failures: Sentence per incorrect or missing response.
        swap_s: Seconds from the change of the pointer to the new model's first answer, per swap.
        resident_mb: Memory of the service before the first swap and after every tenth one.
    """

    answered: int
    failures: list[str]
    swap_s: list[float]
    resident_mb: list[float]


def swap(
    load: Load, turn: Callable[[int], str], resident_mb: Callable[[], float], *, swaps: int
) -> Outcome:
    """Swap models under load.

    Args:
        load: Running load; it is stopped at the end.
        turn: Given the number of the swap, makes another version current and returns it.
        resident_mb: Returns the memory of the service.
        swaps: Number of swaps.
    """
    swap_s, memory = [], [resident_mb()]
    try:
        for number in range(1, swaps + 1):
            version = turn(number)
            turned = time.perf_counter()
            swap_s.append(load.wait_for_version(version) - turned)
            if number % _SWAPS_PER_SAMPLE == 0:
                memory.append(resident_mb())
    finally:
        load.stop()
    return Outcome(sum(load.answered), load.failures, swap_s, memory)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.swaps")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--arch", default="mobilenet_v3_small")
    parser.add_argument(
        "--log", type=Path, default=Path("build/swaps.log"), help="log file of the service"
    )
    arguments = parser.parse_args()
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    pictures = photographs(SIZES["640x480"], count=8, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        outcome = _run(arguments, Path(folder), pictures)
    _print(outcome, arguments)
    return 1 if outcome.failures else 0


def _run(arguments: argparse.Namespace, store: Path, pictures: Sequence[bytes]) -> Outcome:
    backbone = make_backbone(arguments.arch, pictures, seed=0)
    head = make_head(backbone, seed=0)
    heads = [
        dataclasses.replace(head, bias=np.array([bias, -bias], np.float32))
        for bias in (_BIAS, -_BIAS)
    ]

    def publish(which: int) -> Bundle:
        return publish_bundle(store, backbone, heads[which], pictures, precision="fp32")

    torch.set_num_threads(1)
    second, first = publish(1), publish(0)
    expected = {
        model_of(b.manifest.version): expected_answers(b, pictures) for b in (first, second)
    }
    assert min(_gap(a[0], b[0]) for a, b in zip(*expected.values(), strict=True)) > 0.1

    def turn(number: int) -> str:
        if number % 2:
            version = publish(1).manifest.version
        else:
            version = first.manifest.version
            promote(store, version)
        prune(store, keep=2)
        return version

    port = free_port()
    request = request_bytes(pictures[:1], path="/predict", field="files")
    environment = {
        "FACEMASK_STORE": str(store),
        "FACEMASK_HOST": "127.0.0.1",
        "FACEMASK_PORT": str(port),
        "FACEMASK_POLL_S": str(_POLL_S),
    }
    command = [sys.executable, "-m", "service"]
    with running(
        command, port=port, request=request, environment=environment, log=arguments.log
    ) as server:
        load = Load(port, pictures, expected, clients=arguments.clients)
        load.wait_for_version(first.manifest.version)
        return swap(load, turn, server.resident_mb, swaps=arguments.swaps)


def _print(outcome: Outcome, arguments: argparse.Namespace) -> None:
    print(f"{arguments.arch}, fp32, {arguments.clients} clients, {arguments.swaps} swaps\n")
    print("| swaps | resident, MB |\n|---|---|")
    for index, megabytes in enumerate(outcome.resident_mb):
        print(f"| {_SWAPS_PER_SAMPLE * index} | {megabytes:.0f} |")
    times = sorted(outcome.swap_s)
    print(f"\n{outcome.answered} correct responses, {len(outcome.failures)} failures.")
    print(
        f"From the change of the pointer to the new model's first answer: median "
        f"{statistics.median(times):.2f} s, {times[0]:.2f} to {times[-1]:.2f}; the store is "
        f"polled every {_POLL_S:g} s."
    )
    later = outcome.resident_mb[1:]
    if len(later) > 1:
        per_swap = statistics.linear_regression(range(len(later)), later).slope / _SWAPS_PER_SAMPLE
        print(
            f"Memory after the first {_SWAPS_PER_SAMPLE}: {per_swap:+.2f} MB per swap, between "
            f"{min(later):.0f} and {max(later):.0f} MB."
        )
    for failure in outcome.failures[:_MAX_PRINTED_FAILURES]:
        print(f"failed: {failure}")


if __name__ == "__main__":
    sys.exit(main())
