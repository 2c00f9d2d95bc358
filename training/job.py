"""The training job: pictures in, a published bundle out."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from models.bundle.load import Bundle, load_graph
from models.bundle.signing import load_private_key
from models.text import clean, normalize_name
from training.audit.faces import face_findings
from training.audit.findings import Finding
from training.audit.label_issues import LabelIssues, find_label_issues
from training.audit.run import audit, holdout_findings
from training.backbones.registry import LoadedBackbone, load_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.face_crops import FaceCropSource, crop_faces
from training.data.holdout import HoldoutSet, find_holdout_set
from training.data.progress import SILENT, Progress
from training.data.source import open_source
from training.evaluation.errors import explain_errors
from training.evaluation.holdout import (
    EvaluatedSet,
    evaluate_holdout,
    holdout_metrics,
    leave_out_known,
)
from training.evaluation.metrics import confidence_metrics
from training.evaluation.ood import OodDetector, fit_ood_detector
from training.evaluation.robustness.measure import (
    has_every_class,
    held_out_folds,
    held_out_set,
    measure_robustness,
)
from training.evaluation.study import Study, out_of_fold_slices, study
from training.features.augmented import extract_augmented
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet, read_feature_set
from training.finetuning.config import BadFinetuneConfig, FinetuneConfig
from training.finetuning.study import Tuning, tune
from training.publish.bundle import BundleContent, publish_bundle
from training.publish.export import Classifier, export
from training.publish.provenance import command_line, package_versions
from training.quantization.choose import PrecisionChoice, choose_precision
from training.report import ReportData, render_card, render_report
from training.report.log_lines import holdout_line, study_lines
from training.summary import Summary


@dataclass(frozen=True)
class FitOptions:
    """Inputs and outputs of a run, apart from its hyper-parameters.

    Attributes:
        data: Folder or zip file with one folder of pictures per class.
        store: Where to publish.
        cache: Folder of the feature cache.
        weights: Local weights for the backbone.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        strict: Refuse to train if any picture is unreadable.
        tests: Holdout sets: a folder of class folders, or LABEL=FOLDER.
        robustness: Corrupt held-out pictures and report how far accuracy falls.
        finetune: Fine-tune, too, and publish what was better on the same folds.
        resume: Go on from the checkpoints of a fine-tuning that was cut short.
        checkpoint: Folder of those and of its event files; `finetune` in the cache by default.
        sign_key: Private key that signs the bundle.
    """

    data: Path
    store: Path
    cache: Path
    weights: Path | None = None
    groups: Path | None = None
    group_pattern: str | None = None
    strict: bool = False
    tests: Sequence[str] = ()
    robustness: bool = False
    finetune: FinetuneConfig | None = None
    resume: bool = False
    checkpoint: Path | None = None
    sign_key: Path | None = None


@dataclass(frozen=True)
class _Trained:
    """The model to publish and the pictures it was trained on, before its export.

    Attributes:
        choice: Feature set, backbone and extractor in the number format chosen.
        study: Head, calibration, threshold and cross-validation.
        tuning: Result of fine-tuning, with `--finetune`.
        ood_detector: None for a fine-tuned backbone: it has seen all pictures, so their distances
            do not show those of new ones.
    """

    choice: PrecisionChoice
    study: Study
    tuning: Tuning | None
    ood_detector: OodDetector | None

    @property
    def backbone(self) -> LoadedBackbone:
        """The backbone to publish."""
        return self.tuning.backbone if self.tuning else self.choice.backbone

    @property
    def extractor(self) -> Extractor:
        """Feature extractor of the backbone to publish."""
        return Extractor(self.backbone) if self.tuning else self.choice.extractor


def fit(options: FitOptions, config: FitConfig, *, progress: Progress = SILENT) -> Bundle:
    """Train on a folder-per-class data set and publish the result.

    Args:
        options: What to train on and where to publish.
        config: Hyper-parameters.
        progress: Takes log lines and counts of pictures.

    Returns:
        The published bundle.

    Raises:
        TrainingError, BundleError, KeyUnusable: See `training.errors` and `models.errors`.
    """
    if options.finetune is not None and config.precision == "int8":
        raise BadFinetuneConfig("A fine-tuned model is fp32: leave out --precision int8.")
    key = load_private_key(options.sign_key) if options.sign_key else None
    backbone = load_backbone(config.backbone, weights=options.weights)
    listing = scan(open_source(options.data), groups=options.groups, pattern=options.group_pattern)
    holdouts = _find_holdouts(options, listing.labels)
    with Cache(options.cache, progress=progress) as cache:
        if config.crop == "faces":
            crop = partial(crop_faces, size=backbone.spec.input_px, cache=cache)
            listing = dataclasses.replace(listing, source=crop(listing.source))
            holdouts = {
                name: dataclasses.replace(holdout, source=crop(holdout.source))
                for name, holdout in holdouts.items()
            }
        feature_set = read_feature_set(
            listing, Extractor(backbone), cache, config, strict=options.strict, progress=progress
        )
        holdouts = {
            name: leave_out_known(holdout, feature_set, cache, input_px=backbone.spec.input_px)
            for name, holdout in holdouts.items()
        }
        findings, label_issues = _audit(feature_set, holdouts, config, progress)
        trained = _train(feature_set, backbone, cache, options, config, progress)
        model = _export(trained)
        graph = load_graph(model)
        results, tests = _test(graph, holdouts, trained, config, progress)
        robustness = None
        if options.robustness:
            robustness = _measure_robustness(graph, results, trained, config, progress)
        summary = _summarise(trained, findings, tests, robustness, options, config)
        report = ReportData(
            summary=summary,
            names=feature_set.names,
            classes=feature_set.classes,
            probabilities=trained.study.probabilities,
            read=feature_set.read,
            errors=explain_errors(trained.choice.feature_set, trained.study, trained.extractor),
            label_issues=label_issues.found,
            tests=results,
        )
        content = BundleContent(
            model=model,
            graph=graph,
            input_px=trained.backbone.spec.input_px,
            precision=trained.choice.facts,
            summary=summary,
            report=render_report(report),
            card=render_card(report),
        )
    return publish_bundle(options.store, content, config, key=key)


def _find_holdouts(options: FitOptions, labels: Sequence[str]) -> dict[str, HoldoutSet]:
    """List the holdout sets; before any work, so that a mistyped folder costs no training run."""
    holdouts = {}
    for given in options.tests:
        prefix, separator, path = given.partition("=")
        label = normalize_name(prefix) if separator else None
        if label not in labels:
            label, path = None, given
        holdouts[clean(given)] = find_holdout_set(
            Path(path), labels, label=label, pattern=options.group_pattern
        )
    complete = any(has_every_class(holdout.classes, labels) for holdout in holdouts.values())
    if options.robustness and options.finetune is not None and not complete:
        raise BadFinetuneConfig(
            "--robustness beside --finetune needs a --test folder with pictures of every class: "
            "the networks of the folds are not kept."
        )
    return holdouts


def _audit(
    feature_set: FeatureSet,
    holdouts: Mapping[str, HoldoutSet],
    config: FitConfig,
    progress: Progress,
) -> tuple[list[Finding], LabelIssues]:
    """Audit the data set, and log errors and warnings."""
    label_issues = find_label_issues(
        feature_set.features,
        feature_set.classes,
        feature_set.groups,
        folds=config.folds,
        seed=config.seed,
    )
    findings = audit(
        feature_set, label_issues=label_issues, min_pictures=config.min_pictures, seed=config.seed
    )
    for name, holdout in holdouts.items():
        findings += holdout_findings(name, holdout)
    source = feature_set.listing.source
    if isinstance(source, FaceCropSource):
        findings = [*face_findings(source.faceless, len(feature_set.names)), *findings]
    for finding in findings:
        if finding.level != "info":
            progress.log(f"{finding.level}: {finding.message}")
    return findings, label_issues


def _train(
    feature_set: FeatureSet,
    backbone: LoadedBackbone,
    cache: Cache,
    options: FitOptions,
    config: FitConfig,
    progress: Progress,
) -> _Trained:
    """Choose the number format, fit the head, and fine-tune with `--finetune`."""
    # The networks of the folds of fine-tuning are fp32 and are not quantised.
    precision = "fp32" if options.finetune else config.precision
    choice = choose_precision(
        feature_set,
        backbone,
        Extractor(backbone),
        cache,
        dataclasses.replace(config, precision=precision),
        progress=progress,
    )
    feature_set = choice.feature_set
    copies = None
    if config.views and len(feature_set.names) <= config.views_up_to:
        progress.log(f"Training on {config.views} augmented copies of each picture, too.")
        copies = extract_augmented(
            feature_set, choice.extractor, cache, config.views, progress=progress
        )
    studied = study(feature_set, config, copies)
    tuning = None
    if options.finetune is not None:
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
    ood_detector = None
    if tuning is None or not tuning.tuned:
        ood_detector = fit_ood_detector(
            feature_set.features, feature_set.classes, feature_set.groups, config
        )
    for line in study_lines(studied):
        progress.log(line)
    return _Trained(choice, studied, tuning, ood_detector)


def _export(trained: _Trained) -> bytes:
    backbone, study = trained.backbone, trained.study
    classifier = Classifier(
        backbone,
        study.head,
        temperature=study.calibration.temperature,
        ood_detector=trained.ood_detector,
    )
    return export(classifier, input_px=backbone.spec.input_px, precision=trained.choice.facts.name)


def _test(
    graph: torch.jit.ScriptModule,
    holdouts: Mapping[str, HoldoutSet],
    trained: _Trained,
    config: FitConfig,
    progress: Progress,
) -> tuple[dict[str, EvaluatedSet], dict[str, dict[str, Any]]]:
    """Evaluate each holdout set, and log its accuracy; return the results and their metrics."""
    detector = trained.ood_detector
    results, metrics = {}, {}
    for name, holdout in holdouts.items():
        evaluated = evaluate_holdout(graph, holdout, input_px=trained.backbone.spec.input_px)
        results[name] = evaluated
        metrics[name] = holdout_metrics(
            evaluated,
            list(trained.choice.feature_set.labels),
            threshold=trained.study.decision.threshold,
            config=config,
            familiarity=detector.facts if detector else None,
        )
        progress.log(holdout_line(name, metrics[name]))
    return results, metrics


def _measure_robustness(
    graph: torch.jit.ScriptModule,
    results: Mapping[str, EvaluatedSet],
    trained: _Trained,
    config: FitConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Corrupt the first holdout set with every class, or else the training pictures."""
    progress.log("Corrupting pictures, to measure the robustness ...")
    feature_set = trained.choice.feature_set
    held_out = held_out_set(
        results, graph, feature_set.labels, input_px=trained.backbone.spec.input_px
    ) or held_out_folds(feature_set, trained.study, trained.extractor)
    return measure_robustness(held_out, feature_set.labels, config=config, progress=progress)


def _summarise(
    trained: _Trained,
    findings: Sequence[Finding],
    tests: dict[str, dict[str, Any]],
    robustness: dict[str, Any] | None,
    options: FitOptions,
    config: FitConfig,
) -> Summary:
    feature_set, studied = trained.choice.feature_set, trained.study
    detector, tuning = trained.ood_detector, trained.tuning
    summary = {
        "labels": list(feature_set.labels),
        "dataset": feature_set.dataset_facts().model_dump(),
        "audit": list(map(asdict, findings)),
        **studied.as_dict(),
        "confidence": confidence_metrics(
            studied.probabilities, feature_set.classes, threshold=studied.decision.threshold
        ),
        "slices": out_of_fold_slices(feature_set, studied, config),
        "tests": tests,
        "robustness": robustness,
        "finetuning": tuning.summary if tuning else None,
        "precision": trained.choice.summary,
        "familiarity": detector.summary(feature_set.labels) if detector else None,
        "backbone": trained.backbone.facts.model_dump(),
        "config": asdict(config)
        | {"penalty": studied.head.penalty}
        | {"finetune": options.finetune and asdict(options.finetune)},
        "packages": package_versions(),
        "command": _command(options, config),
    }
    return cast(Summary, summary)


def _command(options: FitOptions, config: FitConfig) -> str:
    finetune = options.finetune
    command = command_line(
        options.data,
        {
            "--backbone": config.backbone,
            "--weights": options.weights,
            "--groups": options.groups,
            "--group-pattern": options.group_pattern,
            "--strict": options.strict,
            "--test": tuple(options.tests),
            "--robustness": options.robustness,
            "--finetune": finetune.unfreeze if finetune else None,
            "--epochs": finetune.epochs if finetune else None,
            "--crop": config.crop if config.crop == "faces" else None,
            "--precision": config.precision,
            "--views": config.views,
            "--seed": config.seed,
            "--target-error": f"{config.target_error:g}",
        },
    )
    return clean(command)  # a path may not be UTF-8
