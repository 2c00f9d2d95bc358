"""Misclassified pictures: what the head looked at, and the training pictures most similar."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.imaging.decode import decode_image
from training.backbones.pooling import activation_map, row_weights
from training.config import EXTRACTION_BATCH
from training.evaluation.study import Study
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet

_NUM_NEIGHBOURS: Final = 4
_MAX_EXPLAINED: Final = 200  # misclassified pictures with an activation map


@dataclass(frozen=True)
class Misclassified:
    """A picture that was misclassified by a head that had not seen it.

    Attributes:
        index: Index of the picture.
        activation: float32 (h, w): class-activation map of the predicted class.
        neighbours: The most similar pictures that the head was fitted on, and their cosine
            similarity of features, most similar first.
    """

    index: int
    activation: NDArray[np.float32]
    neighbours: list[tuple[int, float]]


def explain_errors(
    feature_set: FeatureSet, studied: Study, extractor: Extractor
) -> list[Misclassified]:
    """Explain the misclassified pictures, most confident first, at most `_MAX_EXPLAINED`.

    Args:
        feature_set: The data.
        studied: Its cross-validation.
        extractor: For the feature maps, which are in no cache.
    """
    predicted = studied.predicted
    wrong = np.flatnonzero(predicted != feature_set.classes)
    confidence = studied.probabilities.max(axis=1)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    features = feature_set.features
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    explained = []
    for start in range(0, min(len(wrong), _MAX_EXPLAINED), EXTRACTION_BATCH):
        indices = wrong[start : start + EXTRACTION_BATCH].tolist()
        pixels = torch.stack(
            [decode_image(feature_set.read(index), size=extractor.input_px) for index in indices]
        )
        feature_maps = extractor.feature_map(pixels)  # (n, D, h, w)
        rows = row_weights(feature_maps.shape[2])
        for index, feature_map in zip(indices, feature_maps, strict=True):
            fold = studied.folds[index]
            weight = torch.from_numpy(studied.fold_heads[fold].weight[predicted[index]][None])
            activation = activation_map(feature_map[None], weight, rows)[0, 0]  # (h, w)
            similarity = unit @ unit[index]
            similarity[studied.folds == fold] = -np.inf  # the head was not fitted on these
            nearest = np.argsort(-similarity, kind="stable")[:_NUM_NEIGHBOURS]
            explained.append(
                Misclassified(
                    index=index,
                    activation=activation.numpy(),
                    neighbours=[
                        (int(i), float(similarity[i]))
                        for i in nearest
                        if np.isfinite(similarity[i])
                    ],
                )
            )
    return explained
