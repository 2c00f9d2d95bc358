"""Models swapped under load: is a request lost, does an answer mix two models, does memory grow?

    python -m checks.swaps [--swaps 100] [--clients 8] [--arch mobilenet_v3_small]

Two models that differ in their heads, so that each picture's answer tells which of them gave
it, go into service by turns while clients ask without a pause: the second is published anew each
time, the first promoted again. Whatever a client gets must be 200, and its scores those of the
model that the answer names. Ends with status 1 if one was not.
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
_EVERY: Final = 10  # swaps between two looks at the memory
_SHOWN: Final = 10  # failures that are printed
# Scores may move so far with the size of a batch; the two models' differ by far more.
_TOLERANCE: Final = 1e-3
_BIAS: Final = 2.0
_POLL_S: Final = 0.05

Answers = Mapping[str, Sequence[Sequence[float]]]
"""Right scores by model (`model_of` its version) and picture."""


def model_of(version: str) -> str:
    """What a version says of its model: the beginning of its checksum."""
    return version.rpartition("-")[2]


def right_answers(bundle: Bundle, pictures: Sequence[bytes]) -> list[list[float]]:
    """What a model says of pictures, each alone."""
    size = bundle.manifest.input_px
    pixels = [decode_image(picture, size=size).unsqueeze(0) for picture in pictures]
    return [bundle.answer(one)[0][0].tolist() for one in pixels]


class Load:
    """Clients that ask without a pause, and judge each answer."""

    def __init__(
        self, port: int, pictures: Sequence[bytes], right: Answers, *, clients: int
    ) -> None:
        """Start them."""
        self._port, self._pictures, self._right = port, pictures, right
        self._lock = threading.Condition()
        self._stopped = False
        self.answered = [0] * clients
        self._last = [""] * clients  # version that each client was answered by last
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def all_by(self, version: str) -> float:
        """Wait until every client is answered by a version; returns when the first one was.

        Raises:
            TimeoutError: One never is.
        """
        with self._lock:
            come = self._lock.wait_for(lambda: version in self._last, _WAIT_S)
            first = time.perf_counter()
            come = come and self._lock.wait_for(lambda: {version} == set(self._last), _WAIT_S)
        if not come:
            raise TimeoutError(f"{version} does not answer all: {self.failures[:_SHOWN]}")
        return first

    def stop(self) -> None:
        """End the clients, each after the answer that it waits for."""
        self._stopped = True
        for thread in self._threads:
            thread.join(_WAIT_S)

    def _ask(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_WAIT_S)
        place = client
        while not self._stopped:
            place = (place + 1) % len(self._pictures)
            try:
                version = self._answer(connection, place)
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

    def _answer(self, connection: http.client.HTTPConnection, place: int) -> str:
        connection.request(
            "POST", "/predict", self._pictures[place], {"Content-Type": "image/jpeg"}
        )
        response = connection.getresponse()
        body = response.read()
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"{response.status} {body[:200]!r}")
        document = json.loads(body)
        (entry,) = document["predictions"]
        version: str = document["model"]["version"]
        scores = list(entry["scores"].values())
        right = self._right[model_of(version)][place]
        if len(scores) != len(right) or max(map(_gap, scores, right)) > _TOLERANCE:
            raise ValueError(f"{version} is said to have answered {scores}, and answers {right}")
        return version


def _gap(one: float, other: float) -> float:
    return abs(one - other)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was seen.

    Attributes:
        answered: Right answers.
        failures: What was no right answer, each in words.
        swap_s: From the turn of the pointer to the first answer of the new model, of each swap.
        resident_mb: The service's memory before the first swap and after every tenth.
    """

    answered: int
    failures: list[str]
    swap_s: list[float]
    resident_mb: list[float]


def swap(
    load: Load, turn: Callable[[int], str], resident_mb: Callable[[], float], *, swaps: int
) -> Outcome:
    """Have models swapped under a load.

    Args:
        load: Which is under way, and is stopped in the end.
        turn: Makes another version current, and returns it; given the number of the swap.
        resident_mb: Memory of the service.
        swaps: How many.
    """
    swap_s, memory = [], [resident_mb()]
    try:
        for number in range(1, swaps + 1):
            version = turn(number)
            turned = time.perf_counter()
            swap_s.append(load.all_by(version) - turned)
            if number % _EVERY == 0:
                memory.append(resident_mb())
    finally:
        load.stop()
    return Outcome(sum(load.answered), load.failures, swap_s, memory)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.swaps")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--arch", default="mobilenet_v3_small")
    parser.add_argument("--log", type=Path, default=Path("build/swaps.log"), help="the service's")
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
    right = {model_of(b.manifest.version): right_answers(b, pictures) for b in (first, second)}
    assert min(_gap(a[0], b[0]) for a, b in zip(*right.values(), strict=True)) > 0.1

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
        load = Load(port, pictures, right, clients=arguments.clients)
        load.all_by(first.manifest.version)
        return swap(load, turn, server.resident_mb, swaps=arguments.swaps)


def _print(outcome: Outcome, arguments: argparse.Namespace) -> None:
    print(f"{arguments.arch}, fp32, {arguments.clients} clients, {arguments.swaps} swaps\n")
    print("| swaps | resident, MB |\n|---|---|")
    for place, megabytes in enumerate(outcome.resident_mb):
        print(f"| {_EVERY * place} | {megabytes:.0f} |")
    times = sorted(outcome.swap_s)
    print(f"\n{outcome.answered} right answers, {len(outcome.failures)} failures.")
    print(
        f"From the turn of the pointer to the first answer of the new model: median "
        f"{statistics.median(times):.2f} s, {times[0]:.2f} to {times[-1]:.2f}; the store is "
        f"looked at every {_POLL_S:g} s."
    )
    later = outcome.resident_mb[1:]
    if len(later) > 1:
        per_swap = statistics.linear_regression(range(len(later)), later).slope / _EVERY
        print(
            f"Memory after the first {_EVERY}: {per_swap:+.2f} MB a swap, between "
            f"{min(later):.0f} and {max(later):.0f} MB."
        )
    for failure in outcome.failures[:_SHOWN]:
        print(f"failed: {failure}")


if __name__ == "__main__":
    sys.exit(main())
