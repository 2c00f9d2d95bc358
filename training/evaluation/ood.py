"""Out-of-distribution detection: a picture's distance from the training pictures, and a threshold.

The distance is that of the k-th nearest training picture, as one minus the cosine of their pooled
features (nearest neighbours find outliers: Ramaswamy, Rastogi and Shim 2000; in deep features:
Sun, Ming, Zhu and Li 2022). Beyond the threshold a picture is unfamiliar. The threshold is
conformal (Vovk, Gammerman and Shafer 2005; for outliers Bates et al. 2023): each training
picture's distance is measured to the pictures of other folds, and of n such distances the
ceil((n + 1)(1 - a))-th smallest is exceeded by a picture from the same source with a probability
of about a at most.
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
class OodDetector:
    """Reference features and threshold of the out-of-distribution test.

    Attributes:
        references: float32 (R, D): features of training pictures, each of length 1.
        distances: float64 (n,): of the training pictures, each from those of other folds.
        facts: Block `familiarity` of the manifest.
    """

    references: NDArray[np.float32]
    distances: NDArray[np.float64]
    facts: FamiliarityFacts


def fit_ood_detector(
    features: Features, classes: Classes, groups: NDArray[np.int64], config: FitConfig
) -> OodDetector:
    """Choose the references and the threshold.

    Args:
        features: (n, D) of the original pictures.
        classes: (n,), sorted: the references are spread evenly, and so over all classes.
        groups: (n,): a picture is compared with no picture of its group.
        config: Its `familiarity` block.

    Raises:
        TooFewPictures: As `grouped_folds`.
    """
    unit = _normalise(features)
    num_references = min(len(unit), config.familiarity_references)
    kept = np.unique(np.linspace(0, len(unit) - 1, num_references).round().astype(np.int64))
    neighbours = min(config.familiarity_neighbours, len(kept))
    distances = np.zeros(len(unit))
    for train, test in grouped_folds(classes, groups, folds=config.folds, seed=config.seed):
        references = unit[kept[np.isin(kept, train)]]
        distances[test] = _kth_distances(unit[test], references, neighbours)
    rank = math.ceil((len(unit) + 1) * (1 - config.familiarity_alarms))
    threshold = float(np.sort(distances)[min(rank, len(unit)) - 1])
    facts = FamiliarityFacts(
        threshold=threshold,
        false_alarms=config.familiarity_alarms,
        neighbours=neighbours,
        references=len(kept),
        mean_distance=float(distances.mean()),
    )
    return OodDetector(unit[kept], distances, facts)


def _normalise(features: Features) -> NDArray[np.float32]:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), dtype=np.float32)


def _kth_distances(
    unit: NDArray[np.float32], references: NDArray[np.float32], k: int
) -> NDArray[np.float64]:
    """Return one minus the cosine with the k-th nearest reference: (m, D), (R, D) -> (m,)."""
    k = min(k, len(references))
    cosine = unit @ references.T
    return 1.0 - np.partition(cosine, -k, axis=1)[:, -k].astype(np.float64)
