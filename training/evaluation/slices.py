"""Accuracy by slice, and the gap between the best and the worst slice.

A slice is a part of the pictures with a name, from a table `slices.csv` or from a folder below a
class's folder. Several attributes (light, camera, age) each divide the same pictures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.config import FitConfig
from training.evaluation.head import Classes
from training.evaluation.intervals import Design, draw_share, share_interval

MAX_INTERVAL_WIDTH: Final = 0.2
"""A slice whose 95 % interval is wider is too small to compare. 11 pictures that are all correct
pass, and so do 60 of which 80 % are."""


def slice_metrics(
    correct: NDArray[np.bool_],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    slices: Mapping[str, Sequence[str]],
    *,
    config: FitConfig,
) -> list[dict[str, Any]]:
    """Return the metrics of every slice of every attribute.

    Args:
        correct: (n,): true where the prediction is correct.
        classes: (n,).
        groups: (n,) group numbers: pictures of one group are not independent.
        labels: Class names.
        slices: By attribute, the slice of each of the n pictures; "" where it has none.
        config: Seed and number of draws.

    Returns:
        For each attribute its name, `slices` (worst first) and `gap`. A slice has `name`,
        `pictures`, `groups`, `right` (the number of correct ones), `accuracy` with its Jeffreys
        interval, `recall` of each class in it, and `small`. `gap` is None where fewer than two
        slices are large enough; else the `best` and the `worst` of those, the `difference` of
        their accuracies, and its interval, widened because the pair was selected out of all
        (Bonferroni).
    """
    random = np.random.default_rng(config.seed)
    design = Design.of(correct, groups)
    found = []
    for attribute, values in slices.items():
        rows: list[dict[str, Any]] = []
        draws: dict[str, NDArray[np.float64]] = {}
        slice_of = np.array(values)
        for name in sorted(set(values) - {""}):
            inside = slice_of == name
            accuracy = float(correct[inside].mean())
            size = design.size(groups[inside])
            draws[name] = draw_share(accuracy, size, random, config.draws)
            low, high = share_interval(accuracy, size)
            rows.append(
                {
                    "name": name,
                    "pictures": int(inside.sum()),
                    "groups": len(np.unique(groups[inside])),
                    "right": int(correct[inside].sum()),
                    "accuracy": accuracy,
                    "accuracy_interval_95": [low, high],
                    "recall": {
                        labels[k]: float(correct[inside & (classes == k)].mean())
                        for k in np.unique(classes[inside])
                    },
                    "small": high - low > MAX_INTERVAL_WIDTH,
                }
            )
        if rows:
            rows.sort(key=lambda row: (row["accuracy"], -row["pictures"], row["name"]))
            found.append({"attribute": attribute, "slices": rows, "gap": _gap(rows, draws)})
    return found


def _gap(
    rows: Sequence[dict[str, Any]], draws: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any] | None:
    large = [row for row in rows if not row["small"]]
    if len(large) < 2:
        return None
    worst, best = large[0], large[-1]
    pairs = len(large) * (len(large) - 1) // 2
    low, high = np.quantile(
        draws[best["name"]] - draws[worst["name"]], [0.025 / pairs, 1 - 0.025 / pairs]
    )
    return {
        "best": best["name"],
        "worst": worst["name"],
        "difference": best["accuracy"] - worst["accuracy"],
        "difference_interval_95": [float(low), float(high)],
    }
