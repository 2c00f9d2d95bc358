"""Undeclared groups: pictures of one scene that cross-validation may put on both sides.

Near-duplicates are found by their hashes. Crops of one photograph, and frames of one video, are
not: their names or their features give them away.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.audit.findings import Finding, plural
from training.evaluation.head import pick_evenly
from training.features.feature_set import FeatureSet

_NUMBERED: Final = re.compile(r"(.+)[_-]\d{1,2}")  # of a name without its suffix
_PATTERN: Final = r"([^/]+)[_-]\d+\."
_MIN_NUMBERED_SHARE: Final = 0.2  # of the pictures share the rest of their name with another
_MIN_STEMS: Final = 10

# Distance from the nearest neighbour, as a share of what is usual, from which pictures belong
# together: a burst of one scene had 0.02.
_MAX_SHARE_OF_DISTANCE: Final = 0.1
_MIN_CLOSE_SHARE: Final = 0.05  # of a class
_MIN_CLOSE: Final = 5  # pictures
_MAX_PER_CLASS: Final = 4000  # compared with each other; more show nothing else


def undeclared_group_findings(feature_set: FeatureSet) -> list[Finding]:
    """Suggest `--group-pattern` by the names, and report pictures that are too alike."""
    found = [] if feature_set.listing.groups else _numbered_names(feature_set)
    return found + (_close_pictures(feature_set) if feature_set.features.shape[1] else [])


def _numbered_names(feature_set: FeatureSet) -> list[Finding]:
    stems = {}
    for name in feature_set.names:
        path = PurePosixPath(name)
        if match := _NUMBERED.fullmatch(path.stem):
            stems[name] = f"{path.parent}/{match[1]}"
    counts = Counter(stems.values())
    sharing = tuple(name for name, stem in stems.items() if counts[stem] > 1)
    # Few stems, as in "img_1", "img_2", number the pictures and group nothing.
    if len(counts) < _MIN_STEMS or len(sharing) < _MIN_NUMBERED_SHARE * len(feature_set.names):
        return []
    return [
        Finding(
            "info",
            "numbered_names",
            f"{plural(len(sharing), 'picture')} share their name with others but for a number at "
            f"its end, such as {sharing[0]}. If these come from one photograph, person or video, "
            f"declare it: --group-pattern '{_PATTERN}' (or groups.csv). Otherwise figures are "
            "flattered and their intervals too narrow.",
            details={"pattern": _PATTERN, "groups": len(counts)},
        )
    ]


def _close_pictures(feature_set: FeatureSet) -> list[Finding]:
    """Report pictures of a class that are far closer to each other than is usual.

    Usual is the median distance from the nearest picture of the class in another group, of the
    class in which it is largest: a class that is all of one scene has no other measure.
    """
    nearest = {
        k: _nearest_distances(feature_set, np.flatnonzero(feature_set.classes == k))
        for k in range(len(feature_set.labels))
    }
    usual = max(
        (float(np.median(distances)) for _, distances in nearest.values() if len(distances)),
        default=0.0,
    )
    found = []
    for k, (indices, distances) in nearest.items():
        close = indices[distances < _MAX_SHARE_OF_DISTANCE * usual]
        if len(close) >= max(_MIN_CLOSE, _MIN_CLOSE_SHARE * len(indices)):
            found.append(
                Finding(
                    "warning",
                    "close_pictures",
                    f"{plural(len(close))} of {feature_set.labels[k]!r} are far more alike than "
                    "is usual here, as are frames of one scene. If they belong together, declare "
                    "it with --group-pattern or groups.csv: figures are flattered otherwise.",
                    tuple(feature_set.names[i] for i in close.tolist()),
                    details={"class": feature_set.labels[k], "usual_distance": usual},
                )
            )
    return found


def _nearest_distances(
    feature_set: FeatureSet, indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return pictures of a class, and one minus the cosine with the nearest of another group."""
    indices = pick_evenly(indices, _MAX_PER_CLASS)
    features, groups = feature_set.features[indices], feature_set.groups[indices]
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    cosine[groups[:, None] == groups] = -1.0
    distances = 1.0 - cosine.max(axis=1, initial=-1.0).astype(np.float64)
    alone = distances >= 2.0  # no other group
    return indices[~alone], distances[~alone]
