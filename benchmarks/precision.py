"""Images per second of forward passes in fp32 and int8, in turns and in one process.

    python -m benchmarks.precision FOLDER [--backbone NAME ...] [--rounds 9]

The folder's images calibrate the scales of int8. Both networks are measured as they are published,
traced and frozen: in one-thread workers, as many as there are cores, each with batches of 4, and
with all threads on one batch of 1 and of 8. Prints Markdown; the ratio is the median of the
rounds' ratios, with the lowest and the highest.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from models.bundle.load import answer, load_graph
from models.cpu import usable_cores
from models.errors import FacemaskError
from models.imaging.decode import decode_image
from models.layout.files import is_picture
from training.backbones.registry import load_backbone
from training.config import DEFAULT_BACKBONE, FitConfig
from training.data.source import Source, open_source
from training.evaluation.head import Head
from training.features.extract import Extractor
from training.publish.export import Classifier, export
from training.quantization.int8 import quantise
from training.quantization.throughput import measure_rates

_ONE_LANE = {1: 8, 8: 2}  # batch -> forward passes per round

Graphs = dict[str, torch.jit.ScriptModule]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", action="append", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{usable_cores()} cores, PyTorch {torch.__version__}\n")
    print("| backbone | arrangement | fp32 img/s | int8 img/s | ratio (least to largest) |")
    print("|---|---|---|---|---|")
    try:
        source = open_source(arguments.folder)
        for name in arguments.backbone or [DEFAULT_BACKBONE]:
            _measure(name, source, arguments.rounds)
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(name: str, source: Source, rounds: int) -> None:
    backbone = load_backbone(name)
    size = backbone.spec.input_px
    files = [file for file in source.names() if is_picture(PurePosixPath(file))]
    few = files[:: max(1, len(files) // FitConfig().calibration_pictures)]
    pixels = torch.stack([decode_image(source.read(file), size=size) for file in few])
    blank = Head(
        np.zeros((2, backbone.spec.pooled_width), np.float32), np.zeros(2, np.float32), 1.0
    )
    scaled = Extractor(backbone).scale(pixels)
    quantised = dataclasses.replace(backbone, network=quantise(backbone.network, scaled))
    graphs = {
        "fp32": load_graph(export(Classifier(backbone, blank), input_px=size)),
        "int8": load_graph(export(Classifier(quantised, blank), input_px=size, precision="int8")),
    }
    lanes = f"{usable_cores()} lanes of one thread, batch 4"
    _row(name, lanes, measure_rates(graphs, input_px=size, rounds=rounds))
    for batch, passes in _ONE_LANE.items():
        rates = _all_threads(graphs, pixels[:batch], passes, rounds)
        _row(name, f"{usable_cores()} threads, batch {batch}", rates)


def _all_threads(
    graphs: Graphs, pixels: torch.Tensor, passes: int, rounds: int
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in graphs}
    torch.set_num_threads(usable_cores())
    for turn in range(rounds + 1):  # the first warms up
        for name, graph in graphs.items():
            began = time.perf_counter()
            for _ in range(passes):
                answer(graph, pixels)
            if turn:
                rates[name].append(passes * len(pixels) / (time.perf_counter() - began))
    return rates


def _row(name: str, arrangement: str, rates: dict[str, list[float]]) -> None:
    ratios = [fast / slow for fast, slow in zip(rates["int8"], rates["fp32"], strict=True)]
    medians = [statistics.median(rates[which]) for which in ("fp32", "int8")]
    print(
        f"| {name} | {arrangement} | {medians[0]:.0f} | {medians[1]:.0f} "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
