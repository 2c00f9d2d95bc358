"""Shows that broken, hostile and absurd images do no harm to a real service.

    python -m checks.fuzz [--files 20000] [--seed 0] [--connections 16] [--out build/fuzz]
        [--max-pixels 50000000]

Takes 45 seconds for 20,000 files on two cores; Linux only. A third of the requests sets
`faces=true`, if a face detector is installed. Every answer must be a prediction or an error of the
file, every valid image must be answered as the first time, the service must be alive at the end
with no error in its log, and its memory must stay within the bound that it logged and be released
once it is idle. Files of requests with a fault are kept in `--out`. Exits with 1 if there is one.
"""

import argparse
import asyncio
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from benchmarks.process import service
from benchmarks.serving.processes import Server
from checks.fuzz.bombs import bombs
from checks.fuzz.mutate import mutate
from checks.fuzz.originals import originals
from checks.fuzz.run import Findings, Named, send
from models.imaging.face_detector import is_installed
from models.imaging.limits import MAX_PIXELS
from tests.service.fixtures import code_picture, publish_bundle

_LANES: Final = 2
# Growth that is no leak: the ends of heaps of 64 MiB each, and fragmentation. 201 and 226 MB were
# measured.
_ALLOWED_GROWTH_MB: Final = 300
# The service releases memory once it has been idle for some 15 seconds.
_MAX_REST_S: Final = 40.0
_LOGGED_BOUND: Final = re.compile(r"memory: at most (\d+) MiB")
_VALID: Final = (
    "jpeg", "png alpha", "webp", "gif", "tiff lzw", "bmp palette", "mpo", "jpeg no end mark",
    "png profile", "png wrong checksum", "tiff white is zero", "bmp unset alpha",
    "heic", "heic tiles", "avif", "avif alpha",
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.fuzz")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    good = [code_picture(code) for code in (1, 900, 4000)] + [originals()[name] for name in _VALID]
    log = arguments.out / "service.log"
    log.unlink(missing_ok=True)
    settings = {
        "FACEMASK_THREADS": str(_LANES),
        "FACEMASK_MAX_PIXELS": str(arguments.max_pixels),
    }
    with tempfile.TemporaryDirectory() as store:
        publish_bundle(Path(store))
        with service(Path(store), good[0], log=log, **settings) as server:
            before_mb = _peak_mb(server)
            address = f"http://127.0.0.1:{server.port}"
            files = _files(arguments.files, arguments.seed, arguments.max_pixels)
            found = asyncio.run(
                send(
                    address,
                    files,
                    good,
                    seed=arguments.seed,
                    connections=arguments.connections,
                    faces=is_installed(),
                )
            )
            peak_mb = _peak_mb(server)
            after_mb = _resident_mb_at_rest(server, before_mb + _ALLOWED_GROWTH_MB)
            alive = httpx.get(f"{address}/livez").is_success
    logged = _LOGGED_BOUND.search(log.read_text())
    assert logged, "the service logged no bound"
    allowed_mb = int(logged[1])
    faults = _keep(found, arguments.out)
    if peak_mb > allowed_mb:
        faults.append(f"resident memory rose to {peak_mb:.0f} MB; {allowed_mb} MB is its own bound")
    if after_mb > before_mb + _ALLOWED_GROWTH_MB:
        faults.append(f"{after_mb - before_mb:.0f} MB are not released")
    if not alive:
        faults.append("/livez fails")
    faults += [line for line in log.read_text().splitlines() if _is_error_line(line)]
    print(f"| {found.files:,} files, seed {arguments.seed} | |\n|---|---|")
    for outcome, count in found.outcomes.most_common():
        print(f"| {outcome} | {count:,} |")
    print(f"| valid images between them, all answered alike | {found.good:,} |")
    print(f"| requests refused with 429 and repeated | {found.retried:,} |")
    print(
        f"| resident memory before, at its peak, after | {before_mb:.0f}, {peak_mb:.0f}, "
        f"{after_mb:.0f} MB; {allowed_mb} MB is its own bound |"
    )
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return int(bool(faults))


def _files(count: int, seed: int, max_pixels: int) -> Iterator[Named]:
    """Yield mutated files, with all bombs evenly among them if `count` allows."""
    special = list(bombs(math.isqrt(max_pixels)))
    every = max(1, count // len(special))
    for index in range(count):
        turn, is_mutated = divmod(index, every)
        yield mutate(seed, index) if is_mutated or turn >= len(special) else special[turn]


def _keep(found: Findings, out: Path) -> list[str]:
    """Save the files of requests with a fault, and return a sentence for each."""
    sentences = []
    for number, (fault, sent) in enumerate(found.faults):
        for index, (_, data) in enumerate(sent):
            (out / f"fault-{number}-{index}.bin").write_bytes(data)
        names = "; ".join(name for name, _ in sent)
        sentences.append(f"{fault} (fault-{number}: {names})")
    return sentences


def _is_error_line(line: str) -> bool:
    return any(word in line for word in ("Traceback", " ERROR ", " CRITICAL "))


def _resident_mb_at_rest(server: Server, enough_mb: float) -> float:
    """Return the resident memory once it is at most `enough_mb`, or after a while."""
    end = time.monotonic() + _MAX_REST_S
    while (resident_mb := server.resident_mb()) > enough_mb and time.monotonic() < end:
        time.sleep(0.5)
    return resident_mb


def _peak_mb(server: Server) -> float:
    """Return the peak of the service's resident memory so far (proc(5), VmHWM)."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not report the peak of memory")


if __name__ == "__main__":
    sys.exit(main())
