"""Accuracy, calibration and rejection of models trained on one folder and tested on others.

    python -m benchmarks.accuracy TRAIN --test DIR [--test LABEL=DIR] [--other DIR]
                                  [--vary backbone=resnet50_thin,efficientnet_lite0]
                                  [--vary precision=fp32,int8] [--plot FILE.svg] [--json FILE]

Takes as long as the training runs. Each `--vary NAME=A,B` is an option of `python -m training fit`
with its values, `--vary NAME` a flag that is set or not; every combination is trained. A test
folder has folders named like the classes; LABEL=DIR is a folder whose images are all of class
LABEL. Hard slices are the folders below a class's folder, and those of a `slices.csv` (file,slice)
in the test folder. `--other` is a folder of images of no class, for out-of-distribution detection.

The published TorchScript file is tested on images decoded as the service decodes them; nothing of
a test folder is used in training. Prints Markdown.
"""

import argparse
import contextlib
import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy_tables import plot, tables
from models.bundle.load import Bundle, open_bundle
from models.bundle.store import current_version
from models.errors import FacemaskError
from service.inference.decision import decide
from training.__main__ import main as train
from training.data.holdout import find_holdout_set
from training.evaluation.holdout import evaluate_holdout, unfamiliar_share
from training.publish.bundle import SUMMARY

Setting = dict[str, str | None]  # option of `training fit` -> its value; None: given without one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy")
    parser.add_argument("train", type=Path)
    parser.add_argument("--test", action="append", default=[], metavar="[LABEL=]DIR")
    parser.add_argument("--other", action="append", default=[], type=Path, metavar="DIR")
    parser.add_argument("--vary", action="append", default=[], metavar="NAME=A,B")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    arguments = parser.parse_args()
    results = {}
    try:
        for setting in settings(arguments.vary):
            found = _measure(arguments, setting)
            if found is None:
                return 1  # `train` has printed the reason
            results[_title(setting)] = found
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tables(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.plot:
        plot(results, arguments.plot)
    return 0


def settings(vary: Sequence[str]) -> list[Setting]:
    """Return every combination of the options' values."""
    axes: list[list[Setting]] = []
    for option in vary:
        name, equals, values = option.partition("=")
        axes.append(
            [{name: value} for value in values.split(",")] if equals else [{}, {name: None}]
        )
    return [
        {name: value for part in chosen for name, value in part.items()}
        for chosen in itertools.product(*axes)
    ]


def _title(setting: Setting) -> str:
    words = [name if value is None else f"{name} {value}" for name, value in setting.items()]
    return ", ".join(words) or "defaults"


def _measure(arguments: argparse.Namespace, setting: Setting) -> dict[str, Any] | None:
    options = [
        word for name, value in setting.items() for word in (f"--{name}", value) if word is not None
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        tests = [word for test in arguments.test for word in ("--test", test)]
        command = ["fit", str(arguments.train), "--out", str(store), *tests, *options]
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            if train(command):
                return None
        took = time.perf_counter() - began
        bundle = open_bundle(store / current_version(store))
    summary = json.loads(bundle.documents[SUMMARY])
    cross_validated = summary["cross_validation"] | summary["confidence"]
    own = {"cross-validation": cross_validated | {"slices": summary["slices"]}}
    return {
        "training_s": took,
        "precision": bundle.manifest.precision.name,
        "penalty": bundle.manifest.config["penalty"],
        "sets": own | summary["tests"],
        "others": {str(path): _decisions(bundle, path) for path in arguments.other},
    }


def _decisions(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Return the share of each decision on pictures of no class."""
    manifest = bundle.manifest
    labels = list(manifest.labels)
    # They are listed as pictures of the first class; the true class is not used.
    listed = find_holdout_set(folder, labels, label=labels[0])
    evaluated = evaluate_holdout(
        bundle.model, listed, input_px=manifest.input_px, framing=bundle.framing
    )
    rows = evaluated.probabilities.tolist()
    distances = [None] * len(rows) if evaluated.distances is None else evaluated.distances.tolist()
    decisions = [
        decide(manifest, row, distance=distance).decision
        for row, distance in zip(rows, distances, strict=True)
    ]
    shares = {word: decisions.count(word) / len(decisions) for word in sorted(set(decisions))}
    unfamiliar = unfamiliar_share(evaluated, manifest.familiarity)
    return {"pictures": len(decisions), "decisions": shares, "unfamiliar": unfamiliar}


if __name__ == "__main__":
    sys.exit(main())
