"""Peak memory of the service under the worst accepted load, against the bound that it computes.

    python -m benchmarks.memory STORE [--seconds 30]

STORE is a folder of bundles. The service is started on it with the settings of the environment
(and long timeouts, so that slow callers stay). Then it has, at the same time and for `--seconds`:
the max number of connections, half of them within headers and half within bodies; more of the
largest bodies than it may hold, each with the largest images of the formats that take most memory
to decode, half of them with face detection; and JSON tensors that become the max number of
objects. Prints the bound by its parts, as the service logs it, and the peak of resident memory, as
the kernel counts it.
"""

import argparse
import contextlib
import http.client
import io
import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from PIL import Image

from benchmarks.serving.wire import request_bytes
from models.bundle.files import read_manifest
from models.bundle.store import current_version
from service.limits.json_cost import MAX_JSON_BYTES, MAX_JSON_VALUES
from service.settings import Settings

_WAIT_S: Final = 120.0
_PATIENT: Final = {
    f"FACEMASK_{name}": "600" for name in ("HEADER_S", "BODY_S", "DEADLINE_S", "IDLE_S")
}
_BODY_POSTERS: Final = 6
_JSON_POSTERS: Final = 2
_LOGGED_BOUND: Final = re.compile(r"memory: (at most (\d+) MiB per process \(.+\))")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("store", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    settings = Settings()
    with _service(arguments.store) as (process, port, bound):
        warm = _peak_mib(process.pid)
        answers = _drive(port, settings, arguments.store, arguments.seconds)
        peak = _peak_mib(process.pid)
        assert process.poll() is None, "the service died"
    print(f"computed: {bound[1]}")
    print(f"answers: {dict(sorted(answers.items()))}")
    print(f"resident, warm: {warm} MiB; peak: {peak} MiB of {bound[2]} MiB computed")
    return 0 if peak <= int(bound[2]) else 1


@contextlib.contextmanager
def _service(store: Path) -> Iterator[tuple[subprocess.Popen[str], int, re.Match[str]]]:
    """Start the service and wait until it has logged its bound."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env={**os.environ, **_PATIENT, "FACEMASK_STORE": str(store), "FACEMASK_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        port = re.search(r"http://[0-9.]+:(\d+)", process.stdout.readline())
        assert port, "the service did not start"
        bound = next(
            (found for line in process.stderr if (found := _LOGGED_BOUND.search(line))), None
        )
        assert bound, "the service logged no bound"
        # Its log must not fill the pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, int(port[1]), bound
    finally:
        process.kill()
        process.communicate(timeout=_WAIT_S)


def _drive(port: int, settings: Settings, store: Path, seconds: float) -> Counter[int]:
    """Send everything at once, again and again; counts the answers by status."""
    answers: Counter[int] = Counter()
    end = time.monotonic() + seconds
    size = read_manifest(store / current_version(store)).input_px
    bodies = [_largest_body(settings, kind) for kind in ("WEBP", "LA", "I;16")]
    tensors = _many_objects(size)

    def post(path: str, body: bytes, kind: str) -> None:
        while time.monotonic() < end:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WAIT_S)
            with contextlib.suppress(OSError), contextlib.closing(connection):
                connection.request("POST", path, body, {"Content-Type": kind})
                answers[connection.getresponse().status] += 1

    posters: list[Callable[[], None]] = []
    for index in range(_BODY_POSTERS):
        head, _, body = bodies[index % len(bodies)].partition(b"\r\n\r\n")
        kind = next(x for x in head.decode().split("\r\n") if x.startswith("Content-Type: "))[14:]
        path = "/predict?faces=true" if index >= len(bodies) else "/predict"
        posters.append(lambda path=path, body=body, kind=kind: post(path, body, kind))  # type: ignore[misc]
    posters += [
        lambda: post("/v2/models/facemask/infer", tensors, "application/json")
    ] * _JSON_POSTERS
    with contextlib.ExitStack() as held:
        for index in range(settings.max_connections - len(posters)):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", port), _WAIT_S))
            connection.sendall(_unfinished(index, settings))
        threads = [threading.Thread(target=poster) for poster in posters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + _WAIT_S)
    return answers


def _largest_body(settings: Settings, kind: str) -> bytes:
    """Return a body with as many copies as fit of the largest file with the max pixels."""
    edge = math.isqrt(settings.max_pixels)
    file = io.BytesIO()
    if kind == "WEBP":
        edge = min(edge, 16383)  # the format's own bound
        Image.new("RGB", (edge, edge)).save(file, "WEBP", method=0)
    else:
        Image.new(kind, (edge, edge)).save(file, "PNG", compress_level=1)
    # What follows the picture is kept as part of the file.
    size = min(settings.max_file_bytes, settings.max_body_bytes - 1000)
    picture = file.getvalue().ljust(size, b"\0")
    count = max(
        1, min(settings.max_files, (settings.max_body_bytes - 1000) // (len(picture) + 300))
    )
    return request_bytes([picture] * count, path="/predict", field="files")


def _many_objects(size: int) -> bytes:
    """Return a valid request whose JSON holds the max number of short strings."""
    zeros = "0," * (3 * size * size - 1) + "0"
    request = {"inputs": [{"name": "pixels", "shape": [1, 3, size, size], "datatype": "UINT8"}]}
    head = json.dumps(request)[:-3] + f', "data": [{zeros}]}}], "parameters": {{"a": ['
    room = min((MAX_JSON_BYTES - len(head) - 10) // 5, MAX_JSON_VALUES - head.count(",") - 2)
    return (head + '"ab",' * room + '"ab"]}}').encode()


def _unfinished(index: int, settings: Settings) -> bytes:
    if index % 2:
        return b"GET / HTTP/1.1\r\nX: " + b"a" * (settings.max_header_bytes - 1000)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    return f"{head}Content-Length: {settings.max_body_bytes}\r\n\r\n".encode() + bytes(65536)


def _peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("VmHWM:")).split()[1]) >> 10


if __name__ == "__main__":
    sys.exit(main())
