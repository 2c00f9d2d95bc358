"""Accuracy against speed of each backbone and precision, on this machine and your images.

    python -m benchmarks.frontier TRAIN --test DIR [--test LABEL=DIR] [--backbone NAME ...]
                                  [--plot FILE.svg]

Each backbone is trained in fp32 and in int8 (with `--precision`, so regardless of the job's own
choice) and tested as by `benchmarks.accuracy`. Then the published graphs run in turns, in one
process: forward passes of 4 images in one-thread workers, and single images on all threads. Prints
Markdown; rates are medians of rounds with the lowest and the highest.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from models.bundle.load import Bundle, answer
from models.cpu import usable_cores
from models.errors import FacemaskError
from training.config import DEFAULT_BACKBONE, FitConfig, default_cache
from training.job import FitOptions, fit
from training.publish.bundle import SUMMARY
from training.quantization.throughput import measure_rates

_ROUNDS: Final = 9
_SINGLES: Final = 10  # forward passes of one picture a round
_PRECISIONS: Final = ("fp32", "int8")


@dataclass(frozen=True)
class _Made:
    title: str
    bundle: Bundle
    passes: bool  # the gate, as fp32 always does

    def share(self, test: str) -> str:
        row = self.bundle.manifest.metrics["tests"][test]
        low, high = row["balanced_accuracy_interval_95"]
        return f"{row['balanced_accuracy']:.1%} ({low:.1%} to {high:.1%})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier")
    parser.add_argument("train", type=Path)
    parser.add_argument("--test", action="append", required=True, metavar="[LABEL=]DIR")
    parser.add_argument("--backbone", action="append", metavar="NAME")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--plot", type=Path, help="of the first test folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as store:
        try:
            made = [
                _make(arguments, backbone, precision, Path(store))
                for backbone in arguments.backbone or [DEFAULT_BACKBONE]
                for precision in _PRECISIONS
            ]
        except FacemaskError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        rates = _rates(made)
        singles = _singles(made)
    tests = list(made[0].bundle.manifest.metrics["tests"])
    _print(made, tests, rates, singles)
    if arguments.plot:
        _plot(made, tests[0], rates, arguments.plot)
    return 0


def _make(arguments: argparse.Namespace, backbone: str, precision: Any, store: Path) -> _Made:
    config = replace(FitConfig(), backbone=backbone, precision=precision)
    request = FitOptions(arguments.train, store, arguments.cache, tests=arguments.test)
    bundle = fit(request, config).bundle
    measured = json.loads(bundle.documents[SUMMARY])["precision"]
    passes = all(measured.get(test, True) for test in ("accurate", "faithful", "faster"))
    return _Made(f"{backbone}, {precision}", bundle, passes)


def _rates(made: Sequence[_Made]) -> dict[str, list[float]]:
    """Return pictures per second in one-thread lanes; models of one input size take turns."""
    rates: dict[str, list[float]] = {}
    for size in sorted({one.bundle.manifest.input_px for one in made}):
        graphs = {
            one.title: one.bundle.model for one in made if one.bundle.manifest.input_px == size
        }
        rates |= measure_rates(graphs, input_px=size, rounds=_ROUNDS)
    return rates


def _singles(made: Sequence[_Made]) -> dict[str, list[float]]:
    """Return the milliseconds of one picture on all threads, per round."""
    torch.set_num_threads(usable_cores())
    taken: dict[str, list[float]] = {one.title: [] for one in made}
    for turn in range(_ROUNDS + 1):  # the first warms up
        for one in made:
            size = one.bundle.manifest.input_px
            pixels = torch.full((1, 3, size, size), 128, dtype=torch.uint8)
            began = time.perf_counter()
            for _ in range(_SINGLES):
                answer(one.bundle.model, pixels)
            if turn:
                taken[one.title].append(1000 * (time.perf_counter() - began) / _SINGLES)
    return taken


def _print(
    made: Sequence[_Made],
    tests: Sequence[str],
    rates: dict[str, list[float]],
    singles: dict[str, list[float]],
) -> None:
    print(f"{usable_cores()} cores, PyTorch {torch.__version__}\n")
    heads = [Path(test).name for test in tests]
    print("| backbone | " + " | ".join(heads) + " | img/s | one picture, ms | passes the gate |")
    print("|---" * (len(tests) + 4) + "|")
    for one in made:
        shares = " | ".join(one.share(test) for test in tests)
        figures = [_spread(found[one.title]) for found in (rates, singles)]
        passes = "yes" if one.passes else "no"
        print(f"| {one.title} | {shares} | {' | '.join(figures)} | {passes} |")


def _spread(values: Sequence[float]) -> str:
    digits = 0 if min(values) > 30 else 1
    middle, low, high = (
        f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def _plot(made: Sequence[_Made], test: str, rates: dict[str, list[float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5))
    for one in made:
        row = one.bundle.manifest.metrics["tests"][test]
        share = 100 * row["balanced_accuracy"]
        low, high = (100 * end for end in row["balanced_accuracy_interval_95"])
        rate = statistics.median(rates[one.title])
        bars = [[share - low], [high - share]]
        axis.errorbar(
            rate, share, yerr=bars, marker="o", capsize=3, mfc=None if one.passes else "white"
        )
        axis.annotate(one.title, (rate, share), (6, 6), textcoords="offset points")
    axis.set(
        xlabel=f"pictures a second, forward pass, {usable_cores()} cores",
        ylabel=f"balanced accuracy on {Path(test).name}, %, with 95 % interval",
        title="Hollow: the job would not publish it",
    )
    axis.margins(x=0.4)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
