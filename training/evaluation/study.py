"""Study of a feature set: the fitted head, its cross-validated metrics, and its learning curve."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import FitConfig
from training.evaluation.calibration import Calibration, Decision, calibrate, choose_threshold
from training.evaluation.cross_validation import OutOfFold, best_penalty, cross_validate
from training.evaluation.head import Basis, Features, Head, fit_with_copies, softmax
from training.evaluation.learning_curve import LearningCurve, learning_curve
from training.evaluation.metrics import classification_metrics
from training.evaluation.slices import slice_metrics
from training.features.feature_set import FeatureSet


@dataclass(frozen=True)
class Study:
    """A fitted head and its evaluation by cross-validation.

    Attributes:
        head: Fitted on all pictures.
        fold_heads: The heads of the cross-validation.
        folds: int64 (n,): index of the fold head that predicted a picture.
        probabilities: float64 (n, K), calibrated, out of fold.
        calibration: Temperature and calibration error.
        decision: Threshold below which an answer is `uncertain`.
        metrics: Metrics of the grouped cross-validation.
        naive: Metrics with a random split that ignores groups, for comparison.
        learning_curve: Estimate of what more data would gain.
    """

    head: Head
    fold_heads: list[Head]
    folds: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    calibration: Calibration
    decision: Decision
    metrics: dict[str, Any]
    naive: dict[str, Any]
    learning_curve: LearningCurve

    @property
    def predicted(self) -> NDArray[np.int64]:
        """int64 (n,): class index predicted for each picture, out of fold."""
        return np.asarray(self.probabilities.argmax(axis=1))

    def as_dict(self) -> dict[str, Any]:
        """Return the blocks of summary.json."""
        penalties = [head.penalty for head in self.fold_heads]
        return {
            "cross_validation": self.metrics | {"penalties": penalties},
            "naive_split": self.naive,
            "calibration": asdict(self.calibration),
            "decision": asdict(self.decision),
            "learning_curve": asdict(self.learning_curve),
        }


def cross_validate_originals(feature_set: FeatureSet, config: FitConfig) -> OutOfFold:
    """Cross-validate without augmented copies, groups kept together; its heads take coordinates."""
    return cross_validate(
        Basis.own(feature_set.features),
        feature_set.classes,
        feature_set.groups,
        config=config,
    )


def study(feature_set: FeatureSet, config: FitConfig, copies: Features | None = None) -> Study:
    """Cross-validate, calibrate, choose the threshold, fit the head, and extrapolate.

    Args:
        feature_set: Pictures with features.
        config: Hyper-parameters.
        copies: (n, V, F) of augmented copies to fit on, too; the learning curve does without.

    Raises:
        TooFewPictures: The groups leave nothing to cross-validate on.
    """
    classes, groups, labels = feature_set.classes, feature_set.groups, feature_set.labels
    # Copies span so much that a basis of their span costs more than it saves.
    basis = Basis.of(feature_set.features) if copies is None else Basis(None)
    features = basis.compact(feature_set.features)
    originals = Basis.own(features)
    out_of_fold = cross_validate(features, classes, groups, config=config, copies=copies)
    calibration = calibrate(out_of_fold.logits, classes, groups, out_of_fold.folds)
    probabilities = softmax(out_of_fold.logits / calibration.temperature)
    metrics = classification_metrics(probabilities, classes, groups, labels, cross_validated=True)
    own_groups = np.arange(len(classes))
    naive = cross_validate(features, classes, own_groups, config=config, copies=copies)
    penalty = best_penalty(originals, classes, groups, config=config)
    head = fit_with_copies(features, copies, classes, penalty=penalty)
    return Study(
        head=basis.expand(head),
        fold_heads=[basis.expand(fold_head) for fold_head in out_of_fold.heads],
        folds=out_of_fold.folds,
        probabilities=probabilities,
        calibration=calibration,
        decision=choose_threshold(probabilities, classes, groups, target_error=config.target_error),
        metrics=metrics,
        naive=classification_metrics(
            softmax(naive.logits), classes, own_groups, labels, cross_validated=True
        ),
        learning_curve=learning_curve(
            originals,
            classes,
            groups,
            penalty=penalty,
            measured=(metrics["balanced_accuracy"], metrics["balanced_accuracy_interval_95"]),
            config=config,
        ),
    )


def out_of_fold_slices(
    feature_set: FeatureSet, studied: Study, config: FitConfig
) -> list[dict[str, Any]]:
    """Return the out-of-fold metrics of each slice of the data set; see `slice_metrics`."""
    return slice_metrics(
        studied.predicted == feature_set.classes,
        feature_set.classes,
        feature_set.groups,
        feature_set.labels,
        {
            attribute: [slice_of.get(name, "") for name in feature_set.names]
            for attribute, slice_of in feature_set.listing.slices.items()
        },
        config=config,
    )
