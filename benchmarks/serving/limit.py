"""In-process limit: the bundle's decode and forward without HTTP, in the fastest arrangement.

    python -m benchmarks.serving.limit BUNDLE

A process of its own. Reads one JSON request per line from standard input, and writes one JSON
answer per line: images per second and more, of one arrangement and one set of image files.
"""

import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from models.bundle.load import Bundle, answer, open_bundle
from models.cpu import usable_cores
from models.imaging.decode import decode_image

_WARM_UP_BATCHES: Final = 3
_LANE_BATCH: Final = 4
_POOL_BATCH: Final = 8


class Limit:
    """One bundle and its input pictures."""

    def __init__(self, bundle: Bundle, pictures: Sequence[bytes]) -> None:
        self._bundle = bundle
        self._pictures = pictures

    def lanes(self, seconds: float, *, lanes: int, threads: int, batch: int) -> dict[str, Any]:
        """Measure lanes that decode and run their own batches, independent of each other."""

        def lane(number: int) -> tuple[int, float, list[float]]:
            torch.set_num_threads(threads)  # counts for the thread that calls it
            source = self._rotation(number)

            def step() -> None:
                self._forward([self._decode(next(source)) for _ in range(batch)])

            return _timed(step, seconds, batch)

        with ThreadPoolExecutor(lanes) as pool:
            results = list(pool.map(lane, range(lanes)))
        return {
            "rate": sum(done / took for done, took, _ in results),
            "batch_ms": [ms for _, _, times in results for ms in times],
        }

    def pool(self, seconds: float, *, threads: int, batch: int) -> dict[str, Any]:
        """Measure a pool that decodes ahead, before one forward pass on all threads."""
        torch.set_num_threads(threads)
        source = self._rotation(0)
        ahead: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(threads) as decoders:

            def step() -> None:
                while len(ahead) < 3 * batch:
                    ahead.append(decoders.submit(self._decode, next(source)))
                self._forward([ahead.popleft().result() for _ in range(batch)])

            done, took, times = _timed(step, seconds, batch)
        return {"rate": done / took, "batch_ms": times}

    def _rotation(self, start: int) -> Iterator[bytes]:
        return itertools.islice(itertools.cycle(self._pictures), start, None)

    def _decode(self, data: bytes) -> Tensor:
        return decode_image(data, size=self._bundle.manifest.input_px)

    def _forward(self, pixels: list[Tensor]) -> None:
        answer(self._bundle.model, torch.stack(pixels)).probabilities.tolist()


ARRANGEMENTS: Final[dict[str, Callable[[Limit, float, int], dict[str, Any]]]] = {
    "lanes": lambda limit, seconds, cores: limit.lanes(
        seconds, lanes=cores, threads=1, batch=_LANE_BATCH
    ),
    "pool": lambda limit, seconds, cores: limit.pool(seconds, threads=cores, batch=_POOL_BATCH),
    "alone": lambda limit, seconds, cores: limit.lanes(seconds, lanes=1, threads=cores, batch=1),
}
"""One lane per core; a decode pool and one forward pass; one picture at a time on all cores."""


def _timed(step: Callable[[], None], seconds: float, batch: int) -> tuple[int, float, list[float]]:
    """Repeat a step for some seconds; return pictures, seconds, and milliseconds of each step."""
    for _ in range(_WARM_UP_BATCHES):
        step()
    times: list[float] = []
    began = last = time.perf_counter()
    while last - began < seconds:
        step()
        now = time.perf_counter()
        times.append(1000 * (now - last))
        last = now
    return len(times) * batch, last - began, times


def main() -> int:
    bundle = open_bundle(Path(sys.argv[1]))
    cores = usable_cores()
    for line in sys.stdin:
        wanted = json.loads(line)
        limit = Limit(bundle, [Path(name).read_bytes() for name in wanted["pictures"]])
        cpu = time.process_time()
        result = ARRANGEMENTS[wanted["arrangement"]](limit, wanted["seconds"], cores)
        print(json.dumps(result | {"cpu_s": time.process_time() - cpu}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
