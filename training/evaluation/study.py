"""Everything that is learnt from the features: the head, how good it is, and where it fails."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.imaging.decode import decode_image
from training.backbones.pooling import activation_map, row_weights
from training.config import EXTRACTION_BATCH, FitConfig
from training.evaluation.calibration import Calibration, Decision, calibrate, choose_threshold
from training.evaluation.cross_validation import OutOfFold, best_penalty, cross_validate, summarise
from training.evaluation.head import Basis, Features, Head, fit_on_views, softmax
from training.evaluation.learning_curve import LearningCurve, learning_curve
from training.evaluation.slices import by_slice
from training.features.extract import Extractor
from training.features.feature_set import Pictures
from training.report.data import ErrorCase

_NEIGHBOURS: Final = 4  # similar pictures shown beside a misjudged one
_EXPLAINED: Final = 200  # most misjudged pictures whose activation map is made


@dataclass(frozen=True)
class Study:
    """A fitted head and what cross-validation says of it.

    Attributes:
        head: Fitted on all pictures.
        fold_heads: The heads of the cross-validation.
        folds: int64 (n,): which of them judged a picture.
        probabilities: float64 (n, K), calibrated, out of fold.
        calibration: Temperature and calibration error.
        decision: When to answer `uncertain`.
        metrics: Figures of the grouped cross-validation.
        naive: The same with a random split, for comparison.
        curve: Whether more data would help.
    """

    head: Head
    fold_heads: list[Head]
    folds: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    calibration: Calibration
    decision: Decision
    metrics: dict[str, Any]
    naive: dict[str, Any]
    curve: LearningCurve

    def as_dict(self) -> dict[str, Any]:
        """The figures, for summary.json and the report."""
        penalties = [head.penalty for head in self.fold_heads]
        return {
            "cross_validation": self.metrics | {"penalties": penalties},
            "naive_split": self.naive,
            "calibration": self.calibration.as_dict(),
            "decision": self.decision.as_dict(),
            "learning_curve": self.curve.as_dict(),
        }


def judge_folds(pictures: Pictures, config: FitConfig) -> OutOfFold:
    """Cross-validate on the plain pictures, groups kept together; heads take coordinates."""
    _, features, _ = _compact(pictures, None)
    return cross_validate(
        features,
        pictures.classes,
        pictures.groups,
        count=len(pictures.labels),
        config=config,
    )


def _compact(pictures: Pictures, views: Features | None) -> tuple[Basis, Features, Features | None]:
    """The features and views in fewer coordinates: basis, (n, r) and (n, V, r)."""
    features = pictures.extracted.features
    if views is None:
        basis = Basis.of(features)
        return basis, basis.compact(features), None
    basis = Basis.of(np.concatenate([features, views.reshape(-1, features.shape[1])]))
    return basis, basis.compact(features), basis.compact(views)


def study(pictures: Pictures, config: FitConfig, views: Features | None = None) -> Study:
    """Cross-validate, calibrate, choose the threshold, fit the head, and look ahead.

    Args:
        pictures: With features.
        config: Hyper-parameters.
        views: (n, V, D) of changed copies to learn from, too; the learning curve does without.

    Raises:
        TooFewPictures: The groups leave nothing to cross-validate on.
    """
    count = len(pictures.labels)
    classes, groups = pictures.classes, pictures.groups
    basis, features, views = _compact(pictures, views)
    judged = cross_validate(features, classes, groups, count=count, config=config, views=views)
    calibration = calibrate(judged.logits, classes)
    probabilities = softmax(judged.logits / calibration.temperature)
    alone = np.arange(len(classes))
    naive = cross_validate(features, classes, alone, count=count, config=config, views=views)
    penalty = best_penalty(features, classes, groups, count=count, config=config)
    return Study(
        head=basis.expand(fit_on_views(features, views, classes, count=count, penalty=penalty)),
        fold_heads=[basis.expand(head) for head in judged.heads],
        folds=judged.folds,
        probabilities=probabilities,
        calibration=calibration,
        decision=choose_threshold(probabilities, classes, target_error=config.target_error),
        metrics=summarise(probabilities, classes, groups, pictures.labels, config=config),
        naive=summarise(softmax(naive.logits), classes, alone, pictures.labels, config=config),
        curve=learning_curve(
            features, classes, groups, count=count, penalty=penalty, config=config
        ),
    )


def slices_of(pictures: Pictures, studied: Study, config: FitConfig) -> list[dict[str, Any]]:
    """How good it is on each slice that the data set names, out of fold; see `slices.by_slice`."""
    return by_slice(
        studied.probabilities.argmax(axis=1) == pictures.classes,
        pictures.classes,
        pictures.groups,
        pictures.labels,
        {
            attribute: [of.get(name, "") for name in pictures.names]
            for attribute, of in pictures.listing.slices.items()
        },
        config=config,
    )


def explain_errors(pictures: Pictures, studied: Study, extractor: Extractor) -> list[ErrorCase]:
    """Every misjudged picture with where the head looked and what it had learnt from, surest first.

    Args:
        pictures: The data.
        studied: Its cross-validation.
        extractor: For the feature maps, which no cache holds.
    """
    answers = studied.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != pictures.classes)
    sure = studied.probabilities.max(axis=1)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    features = pictures.extracted.features
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(length, 1e-12)
    cases = []
    for at in range(0, min(len(wrong), _EXPLAINED), EXTRACTION_BATCH):
        places = wrong[at : at + EXTRACTION_BATCH].tolist()
        pixels = torch.stack(
            [decode_image(pictures.data(place), size=extractor.input_px) for place in places]
        )
        maps = extractor.feature_map(pixels)  # (n, D, h, w)
        rows = row_weights(maps.shape[2])
        for place, feature_map in zip(places, maps, strict=True):
            fold = studied.folds[place]
            head = studied.fold_heads[fold]
            weight = torch.from_numpy(head.weight[answers[place]][None])  # (1, F)
            seen = activation_map(feature_map[None], weight, rows)[0, 0]
            learnt = np.flatnonzero(studied.folds != fold)
            likeness = unit[learnt] @ unit[place]
            nearest = np.argsort(-likeness, kind="stable")[:_NEIGHBOURS]
            cases.append(
                ErrorCase(
                    place=place,
                    activation=seen.numpy(),  # (h, w)
                    neighbours=[(int(learnt[i]), float(likeness[i])) for i in nearest],
                )
            )
    return cases
