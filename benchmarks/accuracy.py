"""Train on one folder, judge on others: balanced accuracy with intervals.

    python -m benchmarks.accuracy TRAIN --test DIR --test LABEL=DIR [--backbone NAME ...]
                                  [--precision fp32 int8]

A test folder has folders named like the classes; LABEL=DIR is any folder of which every
picture is of class LABEL, reported by sub-folder, too. Judged is the published TorchScript
file on pictures decoded as the service decodes them. Nothing of a test folder is used in
training. Prints Markdown; `--json FILE` keeps the figures.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from models.errors import FacemaskError
from training.config import DEFAULT_BACKBONE, FitConfig, default_cache
from training.job import Request, fit


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy")
    parser.add_argument("train", type=Path)
    parser.add_argument("--test", action="append", default=[], metavar="[LABEL=]DIR")
    parser.add_argument("--backbone", action="append", metavar="NAME")
    parser.add_argument(
        "--precision", nargs="+", choices=("auto", "fp32", "int8"), default=["auto"]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {}
    try:
        for backbone in arguments.backbone or [DEFAULT_BACKBONE]:
            for precision in arguments.precision:
                config = dataclasses.replace(
                    FitConfig(), backbone=backbone, precision=precision, seed=arguments.seed
                )
                result = _measure(arguments, config)
                title = f"{backbone}, {result['precision']}"
                results[title] = result
                _print(title, result)
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _measure(arguments: argparse.Namespace, config: FitConfig) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        request = Request(arguments.train, Path(store), arguments.cache, tests=arguments.test)
        bundle = fit(request, config)
        took = time.perf_counter() - began
        metrics = bundle.manifest.metrics
        judged = metrics["cross_validation"] | {
            "calibration_error": metrics["calibration"]["ece_after"]
        }
        rows = {"cross-validation": judged, **metrics["tests"]}
    return {
        "training_s": took,
        "precision": bundle.manifest.precision.name,
        "penalty": bundle.manifest.config["penalty"],
        "sets": rows,
    }


def _print(title: str, result: dict[str, Any]) -> None:
    print(f"\n**{title}**, trained in {result['training_s']:.1f} s, C = {result['penalty']:g}\n")
    print("| judged on | pictures | balanced accuracy | 95 % interval | calibration error |")
    print("|---|---|---|---|---|")
    for name, row in result["sets"].items():
        low, high = row["balanced_accuracy_interval_95"]
        shown = Path(name).name if "=" not in name else name.split("=")[0] + " " + Path(name).name
        print(
            f"| {shown} | {row['pictures']} | {row['balanced_accuracy']:.1%} "
            f"| {low:.1%} to {high:.1%} | {row['calibration_error']:.3f} |"
        )
        for part, count in row.get("slices", {}).items():
            print(
                f"| - {part} | {count['pictures']} | {count['right'] / count['pictures']:.0%} | | |"
            )


if __name__ == "__main__":
    sys.exit(main())
