"""Is it as good for all kinds of pictures? Accuracy by slice, and the gap between slices.

A slice is a part of the pictures that somebody named: in a table `slices.csv`, or by a folder
below a class's folder. Several attributes (light, camera, age) each divide the same pictures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.config import FitConfig
from training.evaluation.cross_validation import draw_share, interval
from training.evaluation.head import Classes

TOO_WIDE: Final = 0.2
"""A slice is too small to tell where its 95 % interval is wider than this: 11 pictures that are
all right pass, and so do 60 of which 80 % are."""


def by_slice(
    right: NDArray[np.bool_],
    classes: Classes,
    groups: NDArray[np.int64],
    labels: Sequence[str],
    slices: Mapping[str, Sequence[str]],
    *,
    config: FitConfig,
) -> list[dict[str, Any]]:
    """Figures of every slice of every attribute.

    Args:
        right: (n,): whether a picture was judged rightly.
        classes: (n,).
        groups: (n,): pictures of one group stand or fall together (Kish 1965).
        labels: Class names.
        slices: The slice of each of the n pictures, by attribute; "" where it has none.
        config: Seed and number of draws.

    Returns:
        For each attribute its name, `slices` (worst first) and `gap`. A slice has `name`,
        `pictures`, `groups`, `right`, `accuracy` with its Jeffreys interval, `recall` of each
        class in it, and `small`. `gap` is None where fewer than two slices are large enough;
        else the `best` and the `worst` of those, the `difference` of their accuracies, and its
        interval, which is wider for the pair having been picked out of all (Bonferroni).
    """
    random = np.random.default_rng(config.seed)
    found = []
    for attribute, values in slices.items():
        rows: list[dict[str, Any]] = []
        draws: dict[str, NDArray[np.float64]] = {}
        given = np.array(values)
        for name in sorted(set(values) - {""}):
            among = given == name
            draws[name] = draw_share(right, groups, among, random, config.draws)
            low, high = interval(draws[name])
            rows.append(
                {
                    "name": name,
                    "pictures": int(among.sum()),
                    "groups": len(np.unique(groups[among])),
                    "right": int(right[among].sum()),
                    "accuracy": float(right[among].mean()),
                    "accuracy_interval_95": [low, high],
                    "recall": {
                        labels[k]: float(right[among & (classes == k)].mean())
                        for k in np.unique(classes[among])
                    },
                    "small": high - low > TOO_WIDE,
                }
            )
        if rows:
            rows.sort(key=lambda row: (row["accuracy"], -row["pictures"], row["name"]))
            found.append({"attribute": attribute, "slices": rows, "gap": _gap(rows, draws)})
    return found


def _gap(
    rows: Sequence[dict[str, Any]], draws: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any] | None:
    told = [row for row in rows if not row["small"]]
    if len(told) < 2:
        return None
    worst, best = told[0], told[-1]
    pairs = len(told) * (len(told) - 1) // 2
    low, high = np.quantile(
        draws[best["name"]] - draws[worst["name"]], [0.025 / pairs, 1 - 0.025 / pairs]
    )
    return {
        "best": best["name"],
        "worst": worst["name"],
        "difference": best["accuracy"] - worst["accuracy"],
        "difference_interval_95": [float(low), float(high)],
    }
