"""One training run from top to bottom."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import torch

from models.bundle.load import load_graph
from models.bundle.out_of_fold import Answer, format_answers
from models.bundle.signing import load_private_key
from models.text import clean, normalize_name
from training.audit.faces import face_findings
from training.audit.findings import LEVEL_WORDS, Finding, case_lines
from training.audit.label_issues import LabelIssues, find_label_issues
from training.audit.run import audit, holdout_findings
from training.backbones.registry import load_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.face_crops import FaceCropSource, crop_faces
from training.data.holdout import HoldoutSet, find_holdout_set
from training.data.progress import SILENT, Progress
from training.data.source import open_source
from training.errors import BadFeatures, BadLayout
from training.evaluation.errors import explain_errors
from training.evaluation.holdout import (
    EvaluatedSet,
    evaluate_holdout,
    holdout_metrics,
    leave_out_known,
)
from training.evaluation.metrics import confidence_metrics
from training.evaluation.robustness.measure import (
    has_every_class,
    held_out_folds,
    held_out_set,
    measure_robustness,
)
from training.evaluation.study import out_of_fold_slices
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet, read_feature_set
from training.finetuning.config import BadFinetuneConfig
from training.job.fitted import Fitted
from training.job.options import FitOptions, command_of
from training.job.preflight import check_free_space, check_output_folders
from training.job.promotion import decide_promotion
from training.job.train import Trained, export_model, train
from training.publish.bundle import BundleContent, publish_bundle
from training.publish.examples import choose_examples
from training.publish.provenance import package_versions
from training.report import ReportData, render_card, render_report
from training.report.log_lines import holdout_line
from training.summary import Summary

_MAX_CASES_LOGGED: Final = 5  # of each finding; the report has all


def fit(options: FitOptions, config: FitConfig, *, progress: Progress = SILENT) -> Fitted:
    """Train on a folder-per-class data set and publish the result.

    Args:
        options: What to train on and where to publish.
        config: Hyper-parameters.
        progress: Takes steps, log lines, counts of pictures and the first figures.

    Raises:
        TrainingError, BundleError, KeyUnusable: See `training.errors` and `models.errors`.
    """
    _check_options(options, config)
    check_output_folders(options)
    key = load_private_key(options.sign_key) if options.sign_key else None
    backbone = load_backbone(config.backbone, weights=options.weights)
    listing = scan(open_source(options.data), groups=options.groups, pattern=options.group_pattern)
    holdouts = _find_holdouts(options, listing.labels)
    check_free_space(options, config, backbone, num_pictures=len(listing.names))
    with Cache(options.cache, progress=progress) as cache:
        if config.crop == "faces":
            crop = partial(crop_faces, size=backbone.spec.input_px, cache=cache)
            listing = dataclasses.replace(listing, source=crop(listing.source))
            holdouts = {
                name: dataclasses.replace(holdout, source=crop(holdout.source))
                for name, holdout in holdouts.items()
            }
        progress.begin("features")
        extractor = Extractor(backbone)
        if options.features is not None:
            _load_features(options.features, extractor, cache, progress)
        feature_set = read_feature_set(
            listing, extractor, cache, config, strict=options.strict, progress=progress
        )
        holdouts = {
            name: leave_out_known(holdout, feature_set, cache, input_px=backbone.spec.input_px)
            for name, holdout in holdouts.items()
        }
        progress.begin("audit")
        findings, label_issues = _audit(feature_set, holdouts, config, progress)
        trained = train(feature_set, backbone, extractor, cache, options, config, progress)
        model = export_model(trained)
        graph = load_graph(model)
        results, tests = _test(graph, holdouts, trained, config, progress)
        robustness = None
        if options.robustness:
            robustness = _measure_robustness(graph, results, trained, config, progress)
        progress.begin("report")
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
            decided=feature_set.listing.decided,
        )
        answers = _out_of_fold_answers(trained)
        content = BundleContent(
            model=model,
            graph=graph,
            input_px=trained.backbone.spec.input_px,
            precision=trained.choice.facts,
            summary=summary,
            report=render_report(report),
            card=render_card(report),
            out_of_fold=format_answers(answers, feature_set.labels),
            test_answers=_test_answers(results, holdouts, feature_set.labels),
            examples=choose_examples(answers, feature_set.labels, listing.source.read)
            if options.examples
            else {},
        )
    progress.begin("publish")
    accuracy = summary["cross_validation"]["balanced_accuracy"]
    promotion = decide_promotion(options, answers, accuracy, trained.study.decision.threshold)
    bundle = publish_bundle(options.store, content, config, key=key, promote=promotion.promoted)
    return Fitted(bundle, promotion, summary, answers)


def _check_options(options: FitOptions, config: FitConfig) -> None:
    """Raise if two options exclude each other."""
    if options.finetune is not None and config.precision == "int8":
        raise BadFinetuneConfig("A fine-tuned model is fp32: leave out --precision int8.")
    if options.features is not None and (config.precision == "int8" or config.crop == "faces"):
        raise BadFeatures(
            "--features are those of whole pictures in fp32: leave out --precision int8 and "
            "--crop faces."
        )


def _load_features(address: str, extractor: Extractor, cache: Cache, progress: Progress) -> None:
    """Copy features that are extracted already to the cache."""
    try:
        from training.features.shards import load_features
    except ModuleNotFoundError as error:
        raise BadFeatures(f"--features needs the extra `scoring` ({error}).") from error
    load_features(address, extractor, cache, progress=progress)


def _find_holdouts(options: FitOptions, labels: Sequence[str]) -> dict[str, HoldoutSet]:
    """List the holdout sets; before any work, so that a mistyped folder costs no training run."""
    holdouts = {}
    for given in options.tests:
        prefix, separator, path = given.partition("=")
        label = normalize_name(prefix) if separator else None
        if label not in labels:
            if label is not None and not Path(given).exists():
                raise BadLayout(
                    f"--test {given}: {label!r} is no class of the training pictures; they are "
                    f"{', '.join(labels)}."
                )
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
        confirmed=feature_set.confirmed,
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
            progress.warning(f"{LEVEL_WORDS[finding.level]}: {finding.message}")
            for line in case_lines(finding, max_cases=_MAX_CASES_LOGGED):
                progress.warning(f"  {line}")
    return findings, label_issues


def _test(
    graph: torch.jit.ScriptModule,
    holdouts: Mapping[str, HoldoutSet],
    trained: Trained,
    config: FitConfig,
    progress: Progress,
) -> tuple[dict[str, EvaluatedSet], dict[str, dict[str, Any]]]:
    """Evaluate each holdout set, and log its accuracy; return the results and their metrics."""
    detector = trained.ood_detector
    results, metrics = {}, {}
    framing = trained.framing.rule(trained.study.decision.threshold) if trained.framing else None
    if holdouts:
        progress.begin("test")
    for name, holdout in holdouts.items():
        evaluated = evaluate_holdout(
            graph, holdout, input_px=trained.backbone.spec.input_px, framing=framing
        )
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
    trained: Trained,
    config: FitConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Corrupt the first holdout set with every class, or else the training pictures."""
    progress.begin("robustness")
    feature_set = trained.choice.feature_set
    held_out = held_out_set(
        results, graph, feature_set.labels, input_px=trained.backbone.spec.input_px
    ) or held_out_folds(feature_set, trained.study, trained.extractor)
    return measure_robustness(held_out, feature_set.labels, config=config, progress=progress)


def _out_of_fold_answers(trained: Trained) -> list[Answer]:
    """Return the out-of-fold answer of the model to each training picture."""
    feature_set, studied = trained.choice.feature_set, trained.study
    labels, predicted = feature_set.labels, studied.predicted
    slices = feature_set.listing.slices
    return [
        Answer(
            file=name,
            sha256=feature_set.listing.source.digest(name),
            label=labels[feature_set.classes[index]],
            group=str(feature_set.groups[index]),
            predicted=labels[predicted[index]],
            probabilities=dict(zip(labels, studied.probabilities[index].tolist(), strict=True)),
            slices={of: names[name] for of, names in slices.items() if name in names},
        )
        for index, name in enumerate(feature_set.names)
    ]


def _test_answers(
    results: Mapping[str, EvaluatedSet],
    holdouts: Mapping[str, HoldoutSet],
    labels: Sequence[str],
) -> bytes:
    """Return the file of the model's answers to the pictures of holdout sets; empty without any."""
    answers = [
        Answer(
            file=f"{test}/{file}",
            sha256=holdouts[test].source.digest(file),
            label=labels[found.classes[index]],
            group=f"{test}/{index if found.groups is None else found.groups[index]}",
            predicted=labels[int(found.probabilities[index].argmax())],
            probabilities=dict(zip(labels, found.probabilities[index].tolist(), strict=True)),
            slices={"test": test},
        )
        for test, found in results.items()
        for index, file in enumerate(found.names)
    ]
    return format_answers(answers, labels) if answers else b""


def _summarise(
    trained: Trained,
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
        "framing": trained.framing.summary() if trained.framing else None,
        "backbone": trained.backbone.facts.model_dump(),
        "config": asdict(config)
        | {"penalty": studied.head.penalty}
        | {"finetune": options.finetune and asdict(options.finetune)},
        "packages": package_versions(),
        "command": command_of(options, config),
    }
    return cast(Summary, summary)
