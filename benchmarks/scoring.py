"""Speed of scoring against its parts alone, a plain DataLoader loop, and Ray Data.

    python -m benchmarks.scoring BUNDLE FOLDER [--copies N] [--repeats 5] [--ray data nodes]

All sides answer the same files with the same model, in turns:

- scoring: one run of `scoring`, Parquet files included;
- limit: only decode and forward, in batches of 8 on one thread per core, nothing written;
- loader: `torch.utils.data.DataLoader`, a worker per core, batches of 8, forward on all cores;
- ray data (needs pandas): `ray.data.read_images` and `map_batches`, a model per core, from
  the first batch that a model gets to the last answer;
- ray nodes: scoring on as many Ray nodes of one CPU as there are cores.

Loading the model is not counted on any side. Memory is kept as the command keeps it, for all sides
of this process. Prints the ratio of rates, scoring to each, with its spread over the repeats. Whole
pictures are answered on every side (`--framing whole`).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.allocator import retain_memory
from models.bundle.load import Bundle, open_bundle
from models.cpu import usable_cores
from models.imaging.decode import decode_image
from models.layout.files import is_picture
from scoring.plan import Options
from scoring.run import RunOptions, open_run

_BATCH = 8


class _Pictures(Dataset[Tensor]):
    """Decoded pictures of some files."""

    def __init__(self, files: Sequence[Path], size: int) -> None:
        self._files, self._size = files, size

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        return decode_image(self._files[index].read_bytes(), size=self._size)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, default=4, help="times that each file is answered")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--ray", nargs="+", choices=("data", "nodes"), default=[], help="sides that need Ray"
    )
    arguments = parser.parse_args(argv)
    retain_memory()  # as the command does, for all sides in this process
    originals = [
        path
        for path in sorted(arguments.folder.rglob("*"))
        if path.is_file() and is_picture(PurePosixPath(path.name))
    ]
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "archive"
        files = _copy(originals, archive, arguments.copies)
        bundle = open_bundle(arguments.bundle)
        sides: dict[str, Callable[[], float | None]] = {
            "scoring": _scoring(arguments.bundle, archive, Path(temporary)),
            "limit": lambda: _limit(bundle, files),
            "loader": lambda: _loader(bundle, files),
        }
        if arguments.ray:
            sides |= _ray_sides(arguments.ray, arguments.bundle, archive, Path(temporary))
        print(f"{usable_cores()} cores, {len(files)} files, {bundle.manifest.precision.name}")
        _report(_rates(sides, len(files), arguments.repeats))
    return 0


def _copy(originals: Sequence[Path], archive: Path, copies: int) -> list[Path]:
    files = []
    for number in range(copies):
        for index, path in enumerate(originals):
            target = archive / str(number) / f"{index:06}{path.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            files.append(target)
    return files


def _rates(
    sides: dict[str, Callable[[], float | None]], files: int, repeats: int
) -> dict[str, list[float]]:
    """Return files per second of each side, measured in turns after an uncounted one.

    A side may return the seconds that count.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            began = time.perf_counter()
            seconds = run()
            if turn:
                rates[name].append(files / (seconds or time.perf_counter() - began))
    return rates


def _report(rates: dict[str, list[float]]) -> None:
    print("\n| side | pictures/s | scoring / side (min-max) |\n|---|---|---|")
    for name, found in rates.items():
        ratios = [mine / other for mine, other in zip(rates["scoring"], found, strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {name} | {statistics.median(found):.1f} | {spread} |")


def _scoring(bundle: Path, archive: Path, folder: Path) -> Callable[[], None]:
    numbers = iter(range(1000))
    options = RunOptions(str(archive), str(folder / "out"), bundle, Options(framing="whole"))
    scorer = open_run(options).open_model()

    def run() -> None:
        output = str(folder / f"out-{next(numbers)}")
        opened = open_run(RunOptions(str(archive), output, bundle, options.answers))
        shards = opened.plan()
        opened.score_with(scorer, shards)
        opened.output.complete([shard.name for shard in shards], opened.facts(shards))

    return run


def _limit(bundle: Bundle, files: Sequence[Path]) -> None:
    size = bundle.manifest.input_px

    def answer(batch: Sequence[Path]) -> None:
        bundle.answer(torch.stack([decode_image(path.read_bytes(), size=size) for path in batch]))

    def begin() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)

    with ThreadPoolExecutor(usable_cores(), initializer=begin) as pool:
        list(pool.map(answer, [files[n : n + _BATCH] for n in range(0, len(files), _BATCH)]))


def _loader(bundle: Bundle, files: Sequence[Path]) -> None:
    torch.set_num_threads(usable_cores())
    pictures = _Pictures(files, bundle.manifest.input_px)
    for pixels in DataLoader(pictures, batch_size=_BATCH, num_workers=usable_cores()):
        bundle.answer(pixels)


def _ray_sides(
    names: Sequence[str], bundle: Path, archive: Path, folder: Path
) -> dict[str, Callable[[], float | None]]:
    """Return sides of a local cluster with a node per core, each of one CPU."""
    import ray
    from ray.cluster_utils import Cluster

    # 15 by default, so that any other load would count double; the name is Ray's spelling.
    os.environ |= {"RAY_worker_niceness": "0"}
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(usable_cores()):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    sides: dict[str, Callable[[], float | None]] = {}
    if "data" in names:
        sides["ray data"] = _ray_data(bundle, archive)
    if "nodes" in names:
        sides["ray nodes"] = _nodes(cluster.address, bundle, archive, folder)
    return sides


def _ray_data(bundle: Path, archive: Path) -> Callable[[], float]:
    import ray

    class Model:
        def __init__(self) -> None:
            torch.set_num_threads(1)
            self._bundle = open_bundle(bundle)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            began = time.time()
            pixels = torch.from_numpy(batch["image"]).permute(0, 3, 1, 2).contiguous()
            score = self._bundle.answer(pixels).probabilities.amax(1).numpy()
            times = torch.full((len(score),), began, dtype=torch.float64)
            return {
                "score": score,
                "began": times.numpy(),
                "ended": (times * 0 + time.time()).numpy(),
            }

    size = open_bundle(bundle).manifest.input_px

    def run() -> float:
        # Reading and models share the CPUs: half of one for each task.
        half = {"num_cpus": 0.5}
        pictures: Any = ray.data.read_images(
            str(archive), size=(size, size), mode="RGB", ray_remote_args=half
        )
        answers = pictures.map_batches(
            Model, concurrency=usable_cores(), batch_size=_BATCH, num_cpus=0.5
        ).materialize()
        rows = answers.take_all()
        return float(max(row["ended"] for row in rows) - min(row["began"] for row in rows))

    return run


def _nodes(address: str, bundle: Path, archive: Path, folder: Path) -> Callable[[], float]:
    from scoring.ray_runner import score_on_ray

    # Four shards per node: shorter ones would count the writing of their files, which takes no part
    # in shards of 1,000.
    pictures = sum(1 for path in archive.rglob("*") if path.is_file())
    answers = Options(framing="whole", shard_size=-(-pictures // (4 * usable_cores())))
    options = RunOptions(str(archive), str(folder / "nodes"), bundle, answers)
    shards = open_run(options).plan()

    def run() -> float:  # writes the same files again
        # Ray may have ended idle processes: one shard per node loads their models.
        score_on_ray(address, options, shards[: usable_cores()], progress=lambda done: None)
        began = time.perf_counter()
        score_on_ray(address, options, shards, progress=lambda done: None)
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    sys.exit(main())
