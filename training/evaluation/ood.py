"""Is a picture like those that the model was trained on? A distance, and a threshold for it.

The distance of a picture is that of its `neighbours`-th nearest training picture, as one minus
the cosine of their pooled features (nearest neighbours find outliers: Ramaswamy, Rastogi and
Shim 2000; in deep features: Sun, Ming, Zhu and Li 2022). Beyond the threshold a picture is
unfamiliar. The threshold is conformal (Vovk, Gammerman and Shafer 2005; for outliers Bates et
al. 2023): each training picture's distance is taken to the pictures of other folds, and of n
such distances the ceil((n + 1)(1 - a))-th smallest is exceeded by a picture from the same source
with a chance of at most a, about.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import FamiliarityFacts
from training.config import FitConfig
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features


@dataclass(frozen=True)
class Familiarity:
    """What the graph needs to measure the distance, and the manifest to judge it.

    Attributes:
        references: float32 (R, D): training pictures' features, each of length 1.
        distances: float64 (n,): of the training pictures, each from those of other folds.
        facts: For the manifest.
    """

    references: NDArray[np.float32]
    distances: NDArray[np.float64]
    facts: FamiliarityFacts


def know(
    features: Features, classes: Classes, groups: NDArray[np.int64], config: FitConfig
) -> Familiarity:
    """Choose the references and the threshold.

    Args:
        features: (n, D) of the plain pictures.
        classes: (n,); pictures of one class lie together.
        groups: (n,): no copy of a picture makes it familiar.
        config: Its `familiarity` block.

    Raises:
        TooFewPictures: As `grouped_folds`.
    """
    unit = _unit(features)
    count = len(unit)
    # Spread evenly over the data set, and so over its classes.
    most = min(count, config.familiarity_references)
    kept = np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
    neighbours = min(config.familiarity_neighbours, len(kept))
    distances = np.zeros(count)
    for learnt, judged in grouped_folds(classes, groups, folds=config.folds, seed=config.seed):
        among = kept[np.isin(kept, learnt)]
        distances[judged] = _distances(unit[judged], unit[among], neighbours)
    rank = math.ceil((count + 1) * (1 - config.familiarity_alarms))
    threshold = float(np.sort(distances)[min(rank, count) - 1])
    facts = FamiliarityFacts(
        threshold=threshold,
        false_alarms=config.familiarity_alarms,
        neighbours=neighbours,
        references=len(kept),
        mean_distance=float(distances.mean()),
    )
    return Familiarity(unit[kept], distances, facts)


def _unit(features: Features) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), dtype=np.float32)


def _distances(
    unit: NDArray[np.float32], references: NDArray[np.float32], neighbours: int
) -> NDArray[np.float64]:
    """(m, D), (R, D) -> (m,): one minus the cosine with the `neighbours`-th nearest."""
    nth = min(neighbours, len(references))
    likeness = unit @ references.T
    return 1.0 - np.partition(likeness, -nth, axis=1)[:, -nth].astype(np.float64)
