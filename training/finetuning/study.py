"""Fine-tuning as a step of the job: compared with the head alone, then run on all pictures."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.evaluation.calibration import calibrate, choose_threshold
from training.evaluation.cross_validation import summarise
from training.evaluation.head import softmax
from training.evaluation.study import Study
from training.features.feature_set import Pictures
from training.finetuning.compare import compare
from training.finetuning.config import FinetuneConfig
from training.finetuning.loop import finetune
from training.finetuning.pixels import read_pixels


@dataclass(frozen=True)
class Tuning:
    """What came of fine-tuning.

    Attributes:
        backbone: To publish: the tuned one, or the one given if the head alone was as good.
        study: Of the model to publish.
        tuned: Whether that is the tuned one.
        summary: For the report and the manifest.
    """

    backbone: LoadedBackbone
    study: Study
    tuned: bool
    summary: dict[str, Any]


def tune(
    pictures: Pictures,
    studied: Study,
    backbone: LoadedBackbone,
    config: FitConfig,
    tuning: FinetuneConfig,
    *,
    checkpoint: Path,
    resume: bool,
    say: Callable[[str], None],
    progress: Callable[[int, int], object],
) -> Tuning:
    """Compare on the same folds, fine-tune on all pictures, and choose which to publish.

    The tuned network is published if it is clearly better on those folds; the head alone is
    simpler. A tuned network's figures, temperature and threshold come from the comparison, in
    which each picture was judged by a network that had not seen it; its learning curve and the
    doubted labels stay those of the head alone.

    Args:
        pictures: The data.
        studied: The head alone.
        backbone: Pretrained.
        config: Of the head and the figures.
        tuning: Of fine-tuning.
        checkpoint: Folder of checkpoints and event files.
        resume: Go on from the checkpoints.
        say: Takes lines for the person who waits.
        progress: Takes (pictures just done, most pictures in all).

    Raises:
        TrainingError: As `training.finetuning.loop.finetune`.
    """
    features, classes, groups = pictures.extracted.features, pictures.classes, pictures.groups
    count = len(pictures.labels)
    pixels = read_pixels(
        pictures.listing.source,
        pictures.names,
        [facts.sha256 for facts in pictures.extracted.facts],
        size=backbone.spec.input_px,
        folder=checkpoint,
        progress=lambda done: progress(done, len(pictures.names)),
    )
    compared = compare(
        backbone,
        features,
        pixels,
        classes,
        groups,
        count=count,
        config=tuning,
        fit=config,
        checkpoint=checkpoint,
        resume=resume,
        say=say,
        progress=progress,
    )
    say(compared.verdict)
    tuned = finetune(
        backbone,
        studied.head,
        pixels,
        classes,
        groups,
        count=count,
        config=tuning,
        checkpoint=checkpoint / "all",
        resume=resume,
        features=features,
        say=say,
        progress=progress,
    )
    summary = compared.summary(tuned, classes, groups, pictures.labels, config=config)
    wins = compared.better == "finetuned" and tuned.best_epoch > 0
    summary["published"] = "finetuned" if wins else "head_only"
    if not wins:
        say("The head alone is published: fine-tuning was not clearly better on the same folds.")
        return Tuning(backbone, studied, False, summary)
    calibration = calibrate(compared.finetuned, classes)
    probabilities = softmax(compared.finetuned / calibration.temperature)
    study = dataclasses.replace(
        studied,
        head=tuned.head,
        # The folds' networks are gone: errors are explained by the one that is published.
        fold_heads=[tuned.head] * (int(compared.folds.max()) + 1),
        folds=compared.folds,
        probabilities=probabilities,
        calibration=calibration,
        decision=choose_threshold(probabilities, classes, target_error=config.target_error),
        metrics=summarise(probabilities, classes, groups, pictures.labels, config=config),
    )
    return Tuning(tuned.backbone, study, True, summary)
