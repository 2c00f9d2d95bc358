"""Shows that what is printed of a data set is true as often as it says.

    python -m checks.coverage [--replications 200] [--only TEXT] [--out DIR]

Takes under 20 minutes for 200 replications on two cores. Data sets are drawn from simulated worlds
in which the truth is known: 2 to 30 classes, 60 to 1,200 pictures, a true accuracy of 80, 95 and
99 %, in groups, in groups of near-copies, and with classes of different size. Heads are fitted for
up to 5 classes; answers of more classes are drawn. The truth is the accuracy of the head that would
be published, on 10,000 fresh pictures. Exits with 1 if a figure misses its goal by more than three
standard errors.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from checks.coverage.run import Row, coverage_of
from checks.coverage.worlds import World
from models.cpu import usable_cores

_ACCURACIES = (0.8, 0.95, 0.99)
_MAX_FALSE = 0.05
_MAX_ECE_LOSS = 0.3  # points, by which the temperature may worsen the true calibration error
_HEADER = (
    "| pictures, true accuracy | accuracy (width) | balanced accuracy (width) | next 100 | ROC AUC "
    "| says \u201ckeeps\u201d 1 / 5 % | falsely | calibration error | forecast (made) |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def worlds() -> list[World]:
    """Return the worlds of the table."""
    found = [
        World((n // 2, n // 2), accuracy) for n in (60, 120, 360, 1000) for accuracy in _ACCURACIES
    ]
    found += [World((180, 180), accuracy, 0.5) for accuracy in _ACCURACIES]
    found += [World((n // 2, n // 2), 0.95, 0.5) for n in (60, 1000)]
    found += [World((180, 180), accuracy, 0.95) for accuracy in _ACCURACIES]
    found += [World((500, 500), 0.95, 0.95)]
    found += [World((24,) * 5, accuracy) for accuracy in (0.8, 0.95)]
    found += [World((72,) * 5, accuracy) for accuracy in _ACCURACIES]
    found += [World((72,) * 5, 0.8, 0.5)]
    found += [World(sizes, 0.95) for sizes in ((400, 20), (200, 20))]
    found += [World((400, 20), 0.99)]
    found += [
        World((each,) * num_classes, accuracy)
        for num_classes, each in ((10, 12), (30, 12), (30, 40))
        for accuracy in _ACCURACIES
    ]
    return [*found, World((12,) * 30, 0.95, 0.5), World((40,) * 10, 0.95, 0.5)]


def missed(row: Row, replications: int) -> list[str]:
    """Return the goals that a row misses by more than three standard errors."""
    small = row.name.startswith("2 x") and "," not in row.name.partition(" %")[2]
    made = round(replications * (row.forecast_made or 0.0))
    goals = (  # name, share covered, goal, and number of intervals
        ("accuracy", row.accuracy, 0.91 if small else 0.93, replications),
        ("balanced accuracy", row.balanced, 0.91 if small else 0.93, replications),
        ("next 100", row.headline, 0.93, replications),
        ("ROC AUC", row.auc, 0.90, replications),
        ("forecast", row.forecast, 0.90, made),
    )
    found = []
    for name, share, goal, intervals in goals:
        if share is None or not intervals:
            continue
        error = (goal * (1 - goal) / intervals) ** 0.5
        if share < goal - 3 * error:
            found.append(f"{row.name}: {name} covers {share:.1%}, not {goal:.0%}")
    error = (_MAX_FALSE * (1 - _MAX_FALSE) / replications) ** 0.5
    for share in row.false or ():
        if share > _MAX_FALSE + 3 * error:
            found.append(f"{row.name}: says \u201ckeeps\u201d falsely in {share:.1%} of runs")
    if row.ece is not None and row.ece[1] > row.ece[0] + _MAX_ECE_LOSS:
        found.append(f"{row.name}: the temperature worsens the calibration error")
    return found


def line(row: Row) -> str:
    """Return a row of the table."""

    def share(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.0f}"

    def pair(values: tuple[float, float] | None) -> str:
        return "" if values is None else " / ".join(f"{100 * value:.1f}" for value in values)

    ece = "" if row.ece is None else f"{row.ece[0]:.1f} \u2192 {row.ece[1]:.1f}"
    forecast = (
        "" if row.forecast_made is None else f"{share(row.forecast)} ({share(row.forecast_made)})"
    )
    cells = (
        row.name,
        f"{100 * row.accuracy:.0f} ({row.accuracy_width:.1f})",
        f"{100 * row.balanced:.0f} ({row.balanced_width:.1f})",
        share(row.headline),
        share(row.auc),
        pair(row.said),
        pair(row.false),
        ece,
        forecast,
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check and print its table."""
    parser = argparse.ArgumentParser(prog="python -m checks.coverage", description=__doc__)
    parser.add_argument("--replications", type=int, default=200, help="data sets per world")
    parser.add_argument("--only", default="", help="worlds whose name has this text")
    parser.add_argument("--processes", type=int, default=usable_cores())
    parser.add_argument("--out", type=Path, default=Path("build/coverage"))
    options = parser.parse_args(arguments)
    chosen = [world for world in worlds() if options.only in world.name]
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers: their matrices are small
    rows = []
    print(_HEADER)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for row in pool.imap(partial(coverage_of, replications=options.replications), chosen):
            rows.append(row)
            print(line(row), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    result = json.dumps([asdict(row) for row in rows], indent=2)
    (options.out / "coverage.json").write_text(f"{result}\n")
    faults = [fault for row in rows for fault in missed(row, options.replications)]
    print("\n".join(faults) or "All goals are met.", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
