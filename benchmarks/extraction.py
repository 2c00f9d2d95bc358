"""Speed and memory of feature extraction: against bare decode and forward, and at growing sizes.

    python -m benchmarks.extraction FOLDER [--sizes 1000 5000 20000] [--edge 640 480]

Part 1 alternates, in one process, the job's extraction with an empty cache and a loop that only
decodes and runs the backbone on the same images in as many worker threads, and prints the ratio of
their rates with its spread.

Part 2 makes data sets of growing size out of the folder's images, enlarged to the given edges, each
with a few bytes appended so that no two files are equal. It reports seconds per image and peak
memory, in a process of its own, for extraction and for the search of near-duplicates.
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import torch
from PIL import Image

from models.cpu import usable_cores
from models.imaging.decode import decode_image
from models.layout.files import is_picture
from training.backbones.registry import load_backbone
from training.config import DEFAULT_BACKBONE, EXTRACTION_BATCH
from training.data.cache import Cache
from training.data.duplicates import find_near_duplicates
from training.data.source import Source, open_source
from training.features.extract import Extractor, extract

_REPEATS = 7
ALONE = (sys.executable, "-m", "benchmarks.extraction")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 5000, 20000])
    parser.add_argument("--edge", type=int, nargs=2, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return _one(arguments.folder, arguments.backbone)
    source = open_source(arguments.folder)
    names = [name for name in source.names() if is_picture(PurePosixPath(name))]
    print(f"{usable_cores()} cores, PyTorch {torch.__version__}, {len(names)} pictures\n")
    _against_bare(source, names, arguments.backbone)
    _growing(source, names, arguments)
    return 0


def _against_bare(source: Source, names: Sequence[str], backbone: str) -> None:
    extractor = Extractor(load_backbone(backbone))
    bare, full = [], []
    _bare(source, names, extractor)  # the first forward passes of a process are slower
    for _ in range(_REPEATS):
        began = time.perf_counter()
        _bare(source, names, extractor)
        bare.append(len(names) / (time.perf_counter() - began))
        with tempfile.TemporaryDirectory() as folder, Cache(Path(folder)) as cache:
            began = time.perf_counter()
            extract(source, names, extractor, cache)
            full.append(len(names) / (time.perf_counter() - began))
    ratios = sorted(b / a for a, b in zip(bare, full, strict=True))
    print(f"bare decode + forward   {statistics.median(bare):6.1f} pictures/s")
    print(f"extraction, cold cache  {statistics.median(full):6.1f} pictures/s")
    print(f"ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})\n")


def _bare(source: Source, names: Sequence[str], extractor: Extractor) -> None:
    def run_worker(part: Sequence[str]) -> None:
        pictures = [decode_image(source.read(name), size=extractor.input_px) for name in part]
        extractor(torch.stack(pictures))

    chunks = [names[at : at + EXTRACTION_BATCH] for at in range(0, len(names), EXTRACTION_BATCH)]
    with ThreadPoolExecutor(usable_cores(), initializer=lambda: torch.set_num_threads(1)) as pool:
        list(pool.map(run_worker, chunks))


def _growing(source: Source, names: Sequence[str], arguments: argparse.Namespace) -> None:
    print("| pictures | ms a picture | peak MB | copies found in, s | peak MB then |")
    print("|---|---|---|---|---|")
    enlarged = [_enlarge(source.read(name), tuple(arguments.edge)) for name in names]
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            for index in range(size):
                path = Path(folder) / f"{index:06d}.jpg"
                # Bytes after the end of a JPEG change the file and not the picture.
                path.write_bytes(enlarged[index % len(enlarged)] + index.to_bytes(4, "big"))
            done = subprocess.run(
                [*ALONE, folder, "--one", "--backbone", arguments.backbone],
                capture_output=True,
                text=True,
                check=True,
            )
        row = json.loads(done.stdout)
        print(
            f"| {size} | {row['ms']:.1f} | {row['mb']:.0f} "
            f"| {row['copies_s']:.1f} | {row['copies_mb']:.0f} |"
        )


def _one(folder: Path, backbone: str) -> int:
    source = open_source(folder)
    names = source.names()
    with tempfile.TemporaryDirectory() as cached, Cache(Path(cached)) as cache:
        extractor = Extractor(load_backbone(backbone))
        began = time.perf_counter()
        extracted = extract(source, names, extractor, cache)
        took = time.perf_counter() - began
    peak = _peak_mb()
    began = time.perf_counter()
    find_near_duplicates(extracted.stats)
    copies = time.perf_counter() - began
    row = {"ms": 1000 * took / len(names), "mb": peak, "copies_s": copies, "copies_mb": _peak_mb()}
    print(json.dumps(row))
    return 0


def _enlarge(data: bytes, edge: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").resize(edge).save(file, "JPEG", quality=88)
    return file.getvalue()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
