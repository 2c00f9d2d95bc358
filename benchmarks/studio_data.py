"""Measures the studio's data side: uploads, gallery, decisions and versions of a large project.

    python -m benchmarks.studio_data [--pictures 10000] [--bytes 100000] [--database URL]

Takes about 3 minutes for 10,000 pictures of 100 kB. The studio runs as a process and is asked over
loopback; pictures are drawn JPEG files, each another one. Prints milliseconds, files per second and
bytes; the targets stand beside them.
"""

import argparse
import concurrent.futures
import io
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image

from benchmarks.serving.processes import free_port
from checks.studio_process import Studio

_BATCH: Final = 64
_CONNECTIONS: Final = 3  # as the page has
_REPEATS: Final = 10
_CLASSES: Final = ("mask", "no_mask")
_TARGETS: Final = {
    "upload_files_per_s": ">= 100",
    "check_again_s": "",
    "index_ms": "< 100",
    "details_of_400_ms": "",
    "decision_ms": "p95 < 50",
    "bulk_of_10000_s": "",
    "undo_of_bulk_s": "",
    "version_s": "< 1",
    "version_bytes": "< 2,000,000",
    "diff_s": "",
    "restore_s": "",
}


def draw(number: int, size_bytes: int) -> bytes:
    """Return a JPEG of about a size that no other number gives."""
    random = np.random.default_rng(number)
    edge = max(16, round((size_bytes / 0.22) ** 0.5))
    coarse = Image.fromarray(random.integers(0, 256, (edge // 14, edge // 12, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((edge, edge * 3 // 4), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


def upload(client: httpx.Client, project: str, files: Sequence[tuple[str, bytes]]) -> float:
    """Upload files in batches over several connections, and return the files per second."""
    batches = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]

    def send(batch: Sequence[tuple[str, bytes]]) -> None:
        paths = [path for path, _ in batch]
        labels = {path: path.split("/")[0] for path in paths}
        response = client.post(
            f"{project}/pictures",
            files=[("files", (path, data, "image/jpeg")) for path, data in batch],
            data={"labels": json.dumps(labels), "paths": json.dumps(paths)},
        )
        response.raise_for_status()
        assert all(one["status"] == "added" for one in response.json()["results"])

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as threads:
        list(threads.map(send, batches))
    return len(files) / (time.perf_counter() - started)


def timed(function: Callable[[], Any], repeats: int = _REPEATS) -> tuple[float, list[Any]]:
    """Return the median of a call's seconds, and its results."""
    seconds, results = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        results.append(function())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), results


def measure(client: httpx.Client, number: int, size_bytes: int) -> dict[str, float]:
    """Return the figures of a project of so many pictures."""
    made = client.post("/api/projects", json={"name": "large"}).json()
    project = f"/api/projects/{made['id']}"
    files = [(f"{_CLASSES[n % 2]}/{n:05}.jpg", draw(n, size_bytes)) for n in range(number)]
    figures: dict[str, float] = {"upload_files_per_s": upload(client, project, files)}

    def ask(method: str, path: str, **options: Any) -> Any:
        response = client.request(method, f"{project}{path}", **options)
        response.raise_for_status()
        return response.json()

    figures["index_ms"] = 1e3 * timed(lambda: ask("GET", "/index?order=label_issues"))[0]
    ids = ask("GET", "/index")["ids"]
    assert len(ids) == number
    some = ",".join(map(str, ids[:400]))
    figures["details_of_400_ms"] = 1e3 * timed(lambda: ask("GET", f"/pictures?ids={some}"))[0]
    first = ask("POST", "/versions")
    revision = iter(range(1, 1000))

    def decide() -> Any:
        one = {"picture": ids[0], "label": "no_mask", "revision": next(revision)}
        return ask("POST", "/decisions", json={"act": str(uuid.uuid4()), "decisions": [one]})

    seconds = [timed(decide, 1)[0] for _ in range(100)]
    figures["decision_ms"] = 1e3 * statistics.quantiles(seconds, n=20)[-1]
    act = str(uuid.uuid4())
    bulk = [{"picture": id, "label": "mask", "revision": 1} for id in ids[1:]]
    body = {"act": act, "decisions": bulk}
    figures["bulk_of_10000_s"], (answer,) = timed(lambda: ask("POST", "/decisions", json=body), 1)
    assert len(answer["saved"]) == number - 1
    figures["version_s"], (second,) = timed(lambda: ask("POST", "/versions"), 1)
    figures["version_bytes"] = second["bytes"]
    figures["diff_s"] = timed(lambda: ask("GET", f"/versions/{first['id']}/diff/{second['id']}"))[0]
    undo = {"act": act, "id": str(uuid.uuid4())}
    figures["undo_of_bulk_s"], _ = timed(lambda: ask("POST", "/undo", json=undo), 1)
    figures["restore_s"], _ = timed(lambda: ask("POST", f"/versions/{second['id']}/restore"), 1)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studio_data", description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=100_000, help="about, per picture")
    parser.add_argument("--database", default="", help="URL; default is SQLite")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        database = arguments.database or f"sqlite:///{folder}/studio.db"
        studio = Studio(Path(folder), database, free_port())
        studio.start()
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{studio.port}",
                headers={"X-Requested-With": "studio"},
                timeout=300,
            ) as client:
                figures = measure(client, arguments.pictures, arguments.bytes)
        finally:
            studio.kill()
    for name, value in figures.items():
        print(f"{name:22} {value:14,.3f}  {_TARGETS.get(name, '')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
