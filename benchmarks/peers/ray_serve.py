"""Rate and latency of the service on Ray Serve, beside the service alone, in turns.

    python -m benchmarks.peers.ray_serve STORE FOLDER [--requests 400] [--connections 8]

Needs `pip install 'ray[serve]'`. On Ray Serve the same application runs in one replica, behind
Ray's proxy; both answer the same pictures with the same number of threads.
"""

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_START_S = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.ray_serve")
    parser.add_argument("store", type=Path)
    parser.add_argument("folder", type=Path, help="JPEG files")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args(argv)
    pictures = [path.read_bytes() for path in sorted(arguments.folder.rglob("*.jp*g"))]
    ports = {"service": _free_port(), "Ray Serve": _free_port()}
    os.environ |= {"FACEMASK_STORE": str(arguments.store), "FACEMASK_HOST": "127.0.0.1"}
    environment = os.environ | {"FACEMASK_PORT": str(ports["service"])}
    service = subprocess.Popen(
        [sys.executable, "-m", "service"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        _start_ray_serve(ports["Ray Serve"])
        for port in ports.values():
            _wait(port)
        found: dict[str, list[tuple[float, list[float]]]] = {side: [] for side in ports}
        for repeat in range(arguments.repeats + 1):
            for side, port in ports.items():
                outcome = _load(port, pictures, arguments.requests, arguments.connections)
                if repeat:  # the first one warms up
                    found[side].append(outcome)
    finally:
        service.terminate()
        service.wait(_START_S)
    print(f"{os.cpu_count()} cores, {arguments.connections} connections\n")
    print("| side | requests/s (min-max) | median ms | 99th percentile ms |\n|---|---|---|---|")
    for side, runs in found.items():
        rates = [rate for rate, _ in runs]
        cuts = statistics.quantiles([1000 * s for _, times in runs for s in times], n=100)
        spread = f"{statistics.median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
        print(f"| {side} | {spread} | {cuts[49]:.1f} | {cuts[98]:.1f} |")
    return 0


def _start_ray_serve(port: int) -> None:
    import ray
    from ray import serve

    def build() -> Any:
        from service.app import create_app
        from service.settings import Settings

        return create_app(Settings())

    class Service:
        pass

    ray.init(address="local", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment: Any = serve.deployment(max_ongoing_requests=64)(serve.ingress(build)(Service))
    serve.run(deployment.bind(), name="service")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _wait(port: int) -> None:
    """Wait until a model is served."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"nothing is served on port {port}")


def _load(
    port: int, pictures: Sequence[bytes], requests: int, connections: int
) -> tuple[float, list[float]]:
    """Return requests per second, and the seconds of each."""

    def send(number: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        seconds = []
        for index in range(number, requests, connections):
            began = time.perf_counter()
            picture = pictures[index % len(pictures)]
            connection.request("POST", "/predict", picture, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"status {response.status}")
            seconds.append(time.perf_counter() - began)
        return seconds

    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        times = [seconds for found in pool.map(send, range(connections)) for seconds in found]
    return requests / (time.perf_counter() - began), times


if __name__ == "__main__":
    sys.exit(main())
