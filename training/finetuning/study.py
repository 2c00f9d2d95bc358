"""Fine-tuning as a step of the job: compare with the head alone, tune on all pictures, choose."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.data.progress import SILENT, Progress
from training.evaluation.calibration import calibrate, choose_threshold
from training.evaluation.head import softmax
from training.evaluation.metrics import classification_metrics
from training.evaluation.study import Study
from training.features.feature_set import FeatureSet
from training.finetuning import team
from training.finetuning.compare import Comparison, compare
from training.finetuning.config import FinetuneConfig
from training.finetuning.loop import Finetuned, finetune
from training.finetuning.pixels import MAX_BYTES_IN_MEMORY, LabelledPixels, read_pixels


@dataclass(frozen=True)
class Tuning:
    """Result of the step.

    Attributes:
        backbone: The backbone to publish: tuned, or as given if fine-tuning was not better.
        study: Study of the model to publish.
        tuned: True if that is the tuned one.
        summary: Block `finetuning` of summary.json.
    """

    backbone: LoadedBackbone
    study: Study
    tuned: bool
    summary: dict[str, Any]


def tune(
    feature_set: FeatureSet,
    studied: Study,
    backbone: LoadedBackbone,
    config: FitConfig,
    tuning: FinetuneConfig,
    *,
    checkpoint: Path,
    resume: bool,
    progress: Progress = SILENT,
) -> Tuning:
    """Compare on the same folds, fine-tune on all pictures, and choose the model to publish.

    The tuned network is published if it is clearly better on those folds; the head alone is
    simpler. The metrics, temperature and threshold of a tuned network come from the comparison,
    in which each picture was predicted by a network that had not seen it. Its learning curve and
    the label issues remain those of the head alone.

    Args:
        feature_set: The data.
        studied: The head alone.
        backbone: Pretrained.
        config: Hyper-parameters of the head and the metrics.
        tuning: Hyper-parameters of fine-tuning.
        checkpoint: Folder of checkpoints and event files.
        resume: Continue from the checkpoints.
        progress: Logs a line per fold and epoch; advanced per batch.

    Raises:
        TrainingError: As `training.finetuning.loop.finetune`.
    """
    features = feature_set.features
    pixels = read_pixels(
        feature_set.listing.source,
        feature_set.names,
        [stats.sha256 for stats in feature_set.stats],
        size=backbone.spec.input_px,
        folder=checkpoint,
        # Other processes read them from the file.
        max_bytes_in_memory=MAX_BYTES_IN_MEMORY if team.size() == 1 else 0,
        progress=progress,
    )
    data = LabelledPixels(pixels, feature_set.classes, feature_set.groups)
    compared = compare(
        backbone,
        features,
        data,
        config=tuning,
        fit=config,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    )
    progress.log(compared.verdict)
    tuned = finetune(
        backbone,
        studied.head,
        features,
        data,
        config=tuning,
        checkpoint=checkpoint / "all",
        resume=resume,
        progress=progress,
    )
    summary = compared.summary(tuned, data, feature_set.labels)
    wins = compared.better == "finetuned" and tuned.best_epoch > 0
    summary["published"] = "finetuned" if wins else "head_only"
    if not wins:
        progress.log(
            "The head alone is published: fine-tuning was not clearly better on the same folds."
        )
        return Tuning(backbone, studied, False, summary)
    study = _tuned_study(studied, compared, tuned, feature_set, config)
    return Tuning(tuned.backbone, study, True, summary)


def _tuned_study(
    studied: Study,
    compared: Comparison,
    tuned: Finetuned,
    feature_set: FeatureSet,
    config: FitConfig,
) -> Study:
    """Return the study of the tuned network, with the out-of-fold logits of the comparison."""
    classes, groups = feature_set.classes, feature_set.groups
    calibration = calibrate(compared.finetuned, classes, groups, compared.folds)
    probabilities = softmax(compared.finetuned / calibration.temperature)
    return dataclasses.replace(
        studied,
        head=tuned.head,
        # The networks of the folds are not kept: errors are explained by the published one.
        fold_heads=[tuned.head] * (int(compared.folds.max()) + 1),
        folds=compared.folds,
        probabilities=probabilities,
        calibration=calibration,
        decision=choose_threshold(probabilities, classes, groups, target_error=config.target_error),
        metrics=classification_metrics(
            probabilities, classes, groups, feature_set.labels, cross_validated=True
        ),
    )
