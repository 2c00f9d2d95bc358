"""Out-of-distribution detection: a picture's distance from the training pictures, and a threshold.

The distance is that of the k-th nearest training picture, as one minus the cosine of their pooled
features (nearest neighbours find outliers: Ramaswamy, Rastogi and Shim 2000; in deep features:
Sun, Ming, Zhu and Li 2022), in units of what is usual in that picture's class. Beyond the
threshold a picture is unfamiliar.

Pictures of another camera, or cropped in another way, are ordinary, too. So half of the references
and half of the weight in the thresholds are augmented copies of the training pictures, where there
are any: plain pictures alone called twice as many pictures of another source unfamiliar as copies
do, at the same share of pictures of other things.

The thresholds are conformal (Vovk, Gammerman and Shafer 2005; for outliers Bates et al. 2023), and
each class has its own (Mondrian: Vovk 2012). A training picture's distance is measured to all
references but those of its own group (jackknife+: Barber, Candes, Ramdas and Tibshirani 2021).
Of the n distances of a class the (n + 1)(1 - a)-th smallest is exceeded by a new picture of the
class with a probability of about a. One threshold for all classes called 59 % of the
ordinary pictures of a class of 20 beside one of 400 unfamiliar.

The model has one threshold. So a reference's distance is multiplied by the ratio of that threshold
to the one of the reference's class: the ratio is near 1 where classes are alike, and a distance
means the same in every class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import OodFacts
from training.config import FitConfig
from training.evaluation.head import Classes, Features, pick_evenly

# Bounds of a reference's scale: a class of nearly equal pictures has a threshold near 0, and a
# large scale would multiply rounding errors as well.
_MAX_SCALE: Final = 8.0

# Times that the thresholds are lowered towards their level. Where classes overlap, distances
# within the class alone are too large: without it 0-3 % of ordinary pictures were unfamiliar
# instead of 5 % (30 classes of 40, two of 180 that overlap), with it 3-5 %.
_ROUNDS: Final = 4

_CHUNK_PICTURES: Final = 4096  # whose distances are sorted at a time: 8 MB with 512 references


@dataclass(frozen=True)
class OodDetector:
    """Reference features and threshold of the out-of-distribution test.

    Attributes:
        references: float32 (R, F): features of training pictures, each of length 1.
        scales: float32 (R,): factors of the distances from the references.
        distances: float64 (n,): distance of each training picture from those of other groups.
        unfamiliar: float64 (K,): share of each class's training pictures beyond the threshold.
        facts: Block `familiarity` of the manifest.
    """

    references: NDArray[np.float32]
    scales: NDArray[np.float32]
    distances: NDArray[np.float64]
    unfamiliar: NDArray[np.float64]
    facts: OodFacts

    def summary(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return block `familiarity` of summary.json."""
        shares = dict(zip(labels, self.unfamiliar.tolist(), strict=True))
        return self.facts.model_dump() | {"unfamiliar_by_class": shares}


def fit_ood_detector(
    features: Features,
    classes: Classes,
    groups: NDArray[np.int64],
    config: FitConfig,
    copies: Features | None = None,
) -> OodDetector:
    """Choose the references, their scales, and the threshold.

    Args:
        features: (n, F) of the original pictures.
        classes: (n,): each class has a picture.
        groups: (n,): a picture is compared with no picture of its group.
        config: Its `familiarity` block. A class of n pictures cannot have a level below
            1 / (n + 1), which is then its level; the detector's facts give the mean level.
        copies: (n, V, F) of augmented copies of the pictures.
    """
    num_pictures, num_copies = len(features), 0 if copies is None else copies.shape[1]
    max_references = config.familiarity_references
    kept = _choose_references(classes, max_references // 2 if num_copies else max_references)
    references, reference_of = _normalise(features[kept]), kept
    weights, picture_of = np.ones(num_pictures), np.arange(num_pictures)
    if copies is not None and num_copies:
        chosen = _normalise(copies[kept, np.arange(len(kept)) % num_copies])
        references, reference_of = np.concatenate([references, chosen]), np.tile(kept, 2)
        weights = np.repeat([0.5, 0.5 / num_copies], [num_pictures, num_copies * num_pictures])
        picture_of = np.tile(picture_of, 1 + num_copies)  # pictures, all first copies, ...
    neighbours = min(config.familiarity_neighbours, len(references))
    sizes = np.bincount(classes)
    levels = np.maximum(config.familiarity_alarms, 1 / (sizes + 1))  # of each class
    blocks = [features, *(copies[:, i] for i in range(num_copies) if copies is not None)]
    plain = _distances(blocks, references)  # (n * (1 + V), R)
    for start in range(0, len(plain), _CHUNK_PICTURES):
        chunk = slice(start, start + _CHUNK_PICTURES)
        plain[chunk][groups[picture_of[chunk]][:, None] == groups[reference_of]] = np.inf
    row_classes, reference_classes = classes[picture_of], classes[reference_of]
    # Start from the distances within the class: beyond its threshold there, a picture of the class
    # is beyond the joint threshold at most as often.
    within = _kth_smallest(
        lambda part: np.where(row_classes[part, None] == reference_classes, plain[part], np.inf),
        len(plain),
        neighbours,
    )
    thresholds = _class_quantiles(within, row_classes, levels, weights)
    threshold = max(float(np.average(thresholds, weights=sizes)), 1e-6)
    for turn in range(_ROUNDS + 1):
        by_class = np.clip(threshold / np.maximum(thresholds, 1e-9), 1 / _MAX_SCALE, _MAX_SCALE)
        scales = by_class[reference_classes].astype(np.float32)
        distances = _kth_smallest(partial(_scale, plain, scales), len(plain), neighbours)
        if turn < _ROUNDS:
            beyond = _class_quantiles(distances, row_classes, levels, weights) / threshold
            thresholds = thresholds * np.minimum(beyond, 1.0)
    distances = distances[:num_pictures]
    facts = OodFacts(
        threshold=threshold,
        false_alarms=float(np.average(levels, weights=sizes)),
        neighbours=neighbours,
        references=len(references),
        mean_distance=float(np.clip(distances.mean(), 0.0, 2.0)),
    )
    unfamiliar = np.bincount(classes, weights=distances > threshold) / sizes
    return OodDetector(references, scales, distances, unfamiliar, facts)


def _normalise(features: Features) -> NDArray[np.float32]:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), dtype=np.float32)


def _distances(blocks: Sequence[Features], references: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 - cosine of all rows of the blocks (n, F) to the references: (sum of n, R)."""
    distances = np.empty((sum(map(len, blocks)), len(references)), dtype=np.float32)
    done = 0
    for block in blocks:
        for start in range(0, len(block), _CHUNK_PICTURES):
            unit = _normalise(block[start : start + _CHUNK_PICTURES])
            distances[done : done + len(unit)] = 1.0 - unit @ references.T
            done += len(unit)
    return distances


def _choose_references(classes: Classes, max_references: int) -> NDArray[np.int64]:
    """Return sorted indices of pictures, equally many per class as far as the classes allow."""
    sizes = np.bincount(classes)
    totals = np.minimum.outer(np.arange(1, sizes.max() + 1), sizes).sum(axis=1)
    per_class = max(1, int((totals <= max_references).sum()))
    chosen = [pick_evenly(np.flatnonzero(classes == k), per_class) for k in range(len(sizes))]
    return np.sort(np.concatenate(chosen))


def _scale(
    plain: NDArray[np.float32], scales: NDArray[np.float32], rows: slice
) -> NDArray[np.float32]:
    return plain[rows] * scales


def _kth_smallest(
    rows: Callable[[slice], NDArray[np.float32]], total: int, k: int
) -> NDArray[np.float64]:
    """Return the k-th smallest distance of each picture: (total,).

    Args:
        rows: Returns the distances (m, R) of a slice of the pictures; infinite where there is
            none. With fewer than k, the largest counts; with none, 2, the largest possible.
        total: Number of pictures.
        k: Rank, at most R.
    """
    found = np.full(total, 2.0)
    for start in range(0, total, _CHUNK_PICTURES):
        chunk = slice(start, start + _CHUNK_PICTURES)
        nearest = np.sort(np.partition(rows(chunk), k - 1, axis=1)[:, :k], axis=1)  # (m, k)
        usable = np.isfinite(nearest).sum(axis=1)
        last = nearest[np.arange(len(nearest)), np.maximum(usable, 1) - 1]
        found[chunk] = np.where(usable > 0, last, 2.0)
    return found


def _class_quantiles(
    distances: NDArray[np.float64],
    classes: Classes,
    levels: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return each class's conformal threshold: the (n + 1)(1 - level)-th smallest of n.

    It is interpolated: of 24 distances the next whole rank is the largest, whose level is 4 %. A
    picture and its copies count as one: their weights sum to 1.
    """
    quantiles = []
    for k, level in enumerate(levels.tolist()):
        order = np.argsort(distances[classes == k], kind="stable")
        ranks = np.cumsum(weights[classes == k][order])
        rank = (round(ranks[-1]) + 1) * (1 - level)
        quantiles.append(np.interp(rank, ranks, distances[classes == k][order]))
    return np.array(quantiles)
