"""Choice of number format, fit of the head and fine-tuning: from a feature set to a model."""

import dataclasses
from dataclasses import dataclass

from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.progress import Progress
from training.evaluation.framing import LearntFraming, learn_framing
from training.evaluation.ood import OodDetector, fit_ood_detector
from training.evaluation.study import Study, study
from training.features.augmented import extract_augmented
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet
from training.finetuning.study import Tuning, tune
from training.job.options import FitOptions
from training.publish.export import Classifier, export
from training.quantization.choose import PrecisionChoice, choose_precision
from training.report.log_lines import study_lines


@dataclass(frozen=True)
class Trained:
    """The model to publish and the pictures it was trained on, before its export.

    Attributes:
        choice: Feature set, backbone and extractor in the number format chosen.
        study: Head, calibration, threshold and cross-validation.
        tuning: Result of fine-tuning, with `--finetune`.
        ood_detector: None for a fine-tuned backbone: it has seen all pictures, so their distances
            do not show those of new ones.
        framing: How the pictures are framed; None with `--crop faces`, which frames them itself.
    """

    choice: PrecisionChoice
    study: Study
    tuning: Tuning | None
    ood_detector: OodDetector | None
    framing: LearntFraming | None

    @property
    def backbone(self) -> LoadedBackbone:
        """The backbone to publish."""
        return self.tuning.backbone if self.tuning else self.choice.backbone

    @property
    def extractor(self) -> Extractor:
        """Feature extractor of the backbone to publish."""
        return Extractor(self.backbone) if self.tuning else self.choice.extractor


def train(
    feature_set: FeatureSet,
    backbone: LoadedBackbone,
    extractor: Extractor,
    cache: Cache,
    options: FitOptions,
    config: FitConfig,
    progress: Progress,
) -> Trained:
    """Choose the number format, fit the head, and fine-tune with `--finetune`."""
    # The networks of the folds of fine-tuning are fp32 and are not quantised; int8 would need
    # features of its own, of every picture.
    precision = "fp32" if options.finetune or options.features else config.precision
    if precision != "fp32":
        progress.begin("int8")
    choice = choose_precision(
        feature_set,
        backbone,
        extractor,
        cache,
        dataclasses.replace(config, precision=precision),
        progress=progress,
    )
    feature_set = choice.feature_set
    copies = None
    if config.views and len(feature_set.names) <= config.views_up_to:
        progress.begin("copies")
        progress.log(f"Training on {config.views} augmented copies of each picture, too.")
        copies = extract_augmented(
            feature_set, choice.extractor, cache, config.views, progress=progress
        )
    progress.begin("evaluate")
    studied = study(feature_set, config, copies)
    _report_figures(studied, progress)
    tuning = None
    if options.finetune is not None:
        progress.begin("finetune")
        tuning = tune(
            feature_set,
            studied,
            choice.backbone,
            config,
            options.finetune,
            checkpoint=options.checkpoint or options.cache / "finetune",
            resume=options.resume,
            progress=progress,
        )
        studied = tuning.study
        _report_figures(studied, progress)
    ood_detector = None
    if tuning is None or not tuning.tuned:
        ood_detector = fit_ood_detector(
            feature_set.features, feature_set.classes, feature_set.groups, config, copies
        )
    framing = None
    if config.crop == "whole":
        distances = ood_detector.distances if ood_detector else None
        framing = learn_framing(feature_set, distances, cache, config)
        progress.log(framing.sentence)
    for line in study_lines(studied):
        progress.log(line)
    return Trained(choice, studied, tuning, ood_detector, framing)


def _report_figures(studied: Study, progress: Progress) -> None:
    """Report accuracy and balanced accuracy as soon as they are known."""
    for name in ("accuracy", "balanced_accuracy"):
        low, high = studied.metrics[f"{name}_interval_95"]
        progress.figure(name, studied.metrics[name], low, high)


def export_model(trained: Trained) -> bytes:
    """Return the classifier as a TorchScript file."""
    backbone, study = trained.backbone, trained.study
    classifier = Classifier(
        backbone,
        study.head,
        temperature=study.calibration.temperature,
        ood_detector=trained.ood_detector,
    )
    return export(classifier, input_px=backbone.spec.input_px, precision=trained.choice.facts.name)
