"""The whole job: pictures in, a published bundle out."""

import dataclasses
import importlib.metadata
import json
import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.bundle.load import REPORT, Bundle, answer, load_graph, publish
from models.bundle.manifest import CropFacts, DecisionFacts, PrecisionFacts
from models.bundle.signing import PrivateKey, load_private_key
from models.bundle.store import MODEL
from models.imaging.decode import DECODER
from models.imaging.faces import CROPPER
from training.audit.label_issues import find_suspects
from training.audit.run import audit
from training.backbones.registry import LoadedBackbone, load_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.face_crops import crop_faces, faceless
from training.data.holdout import HoldoutSet, find_holdout_set
from training.data.progress import SILENT, Progress
from training.data.source import open_source
from training.errors import OutputError
from training.evaluation.confidence import confidence_figures
from training.evaluation.head import Features
from training.evaluation.holdout import figures, judge
from training.evaluation.ood import Familiarity, know
from training.evaluation.robustness import holds_all, measure_robustness, of_test_set, out_of_fold
from training.evaluation.study import Study, explain_errors, slices_of, study
from training.features.augmented import view_features
from training.features.extract import Extractor
from training.features.feature_set import Pictures, read_pictures
from training.finetuning.config import BadFinetuneConfig, FinetuneConfig
from training.finetuning.study import tune
from training.publish.export import Classifier, export
from training.publish.golden import choose_golden, decode_pool, draw_pool
from training.quantization.choose import Chosen, choose_precision
from training.report import render_card, render_report
from training.report.data import Material, SuspectCase, TestCase

# Packages whose version can change a result.
_RECORDED = (
    "torch",
    "torchvision",
    "pillow",
    "numpy",
    "scikit-learn",
    "imagehash",
    "jinja2",
    "matplotlib",
)

SUMMARY = "summary.json"
CARD = "model_card.md"


@dataclass(frozen=True)
class FitOptions:
    """What a run is asked to do, apart from its hyper-parameters.

    Attributes:
        data: Folder or zip file with one folder of pictures per class.
        store: Where to publish.
        cache: Folder of the feature cache.
        weights: Local weights for the backbone.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        strict: Refuse to train if any picture is unreadable.
        tests: Separate test sets: a folder of class folders, or LABEL=FOLDER.
        robustness: Damage held-out pictures and report how far accuracy falls.
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


def fit(
    request: FitOptions,
    config: FitConfig,
    *,
    progress: Progress = SILENT,
) -> Bundle:
    """Train on a folder-per-class data set and publish the result.

    Args:
        request: What to train on and where to publish.
        config: Hyper-parameters.
        progress: Takes log lines and counts of pictures.

    Returns:
        The published bundle.

    Raises:
        TrainingError, BundleError, KeyUnusable: See `training.errors` and `models.errors`.
    """
    say, progress = progress.log, progress.advance
    if request.finetune is not None and config.precision == "int8":
        raise BadFinetuneConfig("A fine-tuned model is fp32: leave out --precision int8.")
    key = load_private_key(request.sign_key) if request.sign_key else None
    backbone = load_backbone(config.backbone, weights=request.weights)
    listing = scan(open_source(request.data), groups=request.groups, pattern=request.group_pattern)
    # Found before the work begins: a mistyped test folder should not cost a training run.
    tests = {given: _find_test(given, list(listing.labels)) for given in request.tests}
    whole = any(holds_all(test.classes, listing.labels) for test in tests.values())
    if request.robustness and request.finetune is not None and not whole:
        raise BadFinetuneConfig(
            "--robustness beside --finetune needs a --test folder with pictures of every class: "
            "the networks of the folds are not kept."
        )
    faces = None
    if config.crop == "faces":
        faces = crop_faces(listing, tests, size=backbone.spec.input_px, cache=request.cache)
        listing = dataclasses.replace(listing, source=faces)
    extractor = Extractor(backbone)
    with Cache(request.cache) as cache:
        pictures = read_pictures(
            listing, extractor, cache, config, strict=request.strict, say=say, progress=progress
        )
    doubted = find_suspects(
        pictures.extracted.features,
        pictures.classes,
        pictures.groups,
        count=len(pictures.labels),
        folds=config.folds,
        seed=config.seed,
    )
    findings = audit(pictures, suspects=doubted, fewest=config.min_pictures, seed=config.seed)
    if faces is not None:
        findings = [*faceless(faces, len(pictures.names)), *findings]
    for finding in findings:
        if finding.level != "info":
            say(f"{finding.level}: {finding.message}")
    chosen = _choose(pictures, backbone, extractor, request, config, say=say, progress=progress)
    backbone, extractor, pictures = chosen.backbone, chosen.extractor, chosen.pictures
    familiarity: Familiarity | None = know(
        pictures.extracted.features, pictures.classes, pictures.groups, config
    )
    views = _views(pictures, extractor, request.cache, config, say=say, progress=progress)
    studied = study(pictures, config, views)
    tuning = None
    if request.finetune is not None:
        tuning = tune(
            pictures,
            studied,
            backbone,
            config,
            request.finetune,
            checkpoint=request.checkpoint or request.cache / "finetune",
            resume=request.resume,
            say=say,
            progress=progress,
        )
        backbone, studied = tuning.backbone, tuning.study
        if tuning.tuned:  # it has seen all pictures: no distance tells what a new one's would be
            familiarity = None
        extractor = Extractor(backbone)
    _say_figures(studied, say)
    model = export(
        Classifier(
            backbone,
            studied.head,
            temperature=studied.calibration.temperature,
            familiarity=familiarity,
        ),
        input_px=backbone.spec.input_px,
        precision=chosen.facts.name,
    )
    graph = load_graph(model)
    cases = [
        TestCase(given, judged, _reader(test, judged.names))
        for given, test in tests.items()
        for judged in [judge(graph, test, input_px=backbone.spec.input_px)]
    ]
    test_figures = {
        case.name: figures(
            case.judged,
            list(pictures.labels),
            threshold=studied.decision.threshold,
            config=config,
            familiarity=familiarity.facts if familiarity else None,
        )
        for case in cases
    }
    for name, row in test_figures.items():
        say(f"Test set {name}: {_share(row)} on {row['pictures']} pictures.")
    robustness = None
    if request.robustness:
        say("Damaging pictures, to see what the model bears ...")
        held_out = of_test_set(cases, graph, pictures.labels, input_px=backbone.spec.input_px)
        robustness = measure_robustness(
            held_out or out_of_fold(pictures, studied, extractor),
            pictures.labels,
            config=config,
            progress=progress,
        )
    summary = {
        "labels": list(pictures.labels),
        "dataset": pictures.facts().model_dump(),
        "audit": [finding.as_dict() for finding in findings],
        **studied.as_dict(),
        "confidence": confidence_figures(
            studied.probabilities, pictures.classes, threshold=studied.decision.threshold
        ),
        "slices": slices_of(pictures, studied, config),
        "tests": test_figures,
        "robustness": robustness,
        "finetuning": tuning.summary if tuning else None,
        "precision": chosen.summary,
        "familiarity": familiarity.facts.model_dump() if familiarity else None,
        "backbone": backbone.facts.model_dump(),
        "config": config.as_dict()
        | {"penalty": studied.head.penalty}
        | {"finetune": request.finetune.as_dict() if request.finetune else None},
        "packages": _packages(),
        "command": _command(request, config),
    }
    material = Material(
        summary=summary,
        labels=pictures.labels,
        names=pictures.names,
        classes=pictures.classes,
        probabilities=studied.probabilities,
        picture=pictures.data,
        errors=explain_errors(pictures, studied, extractor),
        suspects=[SuspectCase(suspect.place, suspect.suggested) for suspect in doubted],
        tests=cases,
    )
    files = {
        MODEL: model,
        REPORT: render_report(material).encode(),
        SUMMARY: json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n",
        CARD: render_card(material).encode(),
    }
    return _publish(
        request.store,
        files,
        graph,
        backbone,
        chosen.facts,
        pictures,
        studied,
        familiarity,
        summary,
        config,
        key,
    )


def _choose(
    pictures: Pictures,
    backbone: LoadedBackbone,
    extractor: Extractor,
    request: FitOptions,
    config: FitConfig,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int], object],
) -> Chosen:
    """fp32 or int8; always fp32 beside fine-tuning, whose folds' networks nobody quantises."""
    if request.finetune is not None:
        config = dataclasses.replace(config, precision="fp32")
    with Cache(request.cache) as cache:
        return choose_precision(
            pictures, backbone, extractor, cache, config, say=say, progress=progress
        )


def _views(
    pictures: Pictures,
    extractor: Extractor,
    cache: Path,
    config: FitConfig,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int], object],
) -> Features | None:
    """Features of changed copies, or none where there are enough pictures without."""
    total = len(pictures.names)
    if not config.views or total > config.views_up_to:
        return None
    say(f"Learning from {config.views} changed copies of each picture, too.")
    with Cache(cache) as opened:
        return view_features(
            pictures,
            extractor,
            opened,
            config.views,
            progress=lambda done: progress(done, total),
        )


def _publish(
    store: Path,
    files: dict[str, bytes],
    graph: torch.jit.ScriptModule,
    backbone: LoadedBackbone,
    precision: PrecisionFacts,
    pictures: Pictures,
    studied: Study,
    familiarity: Familiarity | None,
    summary: dict[str, Any],
    config: FitConfig,
    key: PrivateKey | None,
) -> Bundle:
    pool = draw_pool(config.seed)
    pixels = torch.stack(decode_pool(pool, size=backbone.spec.input_px))
    golden = choose_golden(
        pool,
        answer(graph, pixels),
        count=config.golden_pictures,
        tolerance=(
            config.golden_tolerance if precision.name == "fp32" else config.golden_tolerance_int8
        ),
    )
    decision = studied.decision
    facts = {
        "labels": list(pictures.labels),
        "input_px": backbone.spec.input_px,
        "decoder": DECODER,
        "crop": CropFacts(name=config.crop, cropper=CROPPER if config.crop == "faces" else None),
        "backbone": backbone.facts,
        "precision": precision,
        "dataset": pictures.facts(),
        "config": summary["config"],
        "metrics": {
            part: summary[part]
            for part in ("cross_validation", "naive_split", "calibration", "tests")
        },
        "packages": summary["packages"],
        "decision": DecisionFacts(
            threshold=decision.threshold,
            target_error=decision.target_error,
            coverage=decision.coverage,
        ),
        "familiarity": familiarity.facts if familiarity else None,
        "golden": golden,
    }
    try:
        return publish(store, files, facts, key=key)
    except OSError as error:
        raise OutputError(
            f"The bundle cannot be written to {store} ({error.strerror}); "
            "what was current still is."
        ) from error


def _find_test(given: str, labels: list[str]) -> HoldoutSet:
    """DIR with class folders, or LABEL=DIR."""
    label, separator, path = given.partition("=")
    if separator and label in labels:
        return find_holdout_set(Path(path), labels, label=label)
    return find_holdout_set(Path(given), labels)


def _reader(test: HoldoutSet, names: list[str]) -> Callable[[int], bytes]:
    return lambda place: test.source.read(names[place])


def _say_figures(studied: Study, say: Callable[[str], None]) -> None:
    metrics, naive, decision = studied.metrics, studied.naive, studied.decision
    say(
        f"Cross-validated on {metrics['pictures']} pictures in {metrics['groups']} groups: "
        f"balanced accuracy {_share(metrics)}."
    )
    say(
        f"A random split that ignores copies and groups would claim "
        f"{naive['balanced_accuracy']:.1%}."
    )
    kept = "keeps" if decision.reached else "cannot be shown to keep"
    say(
        f"Answering only above {decision.threshold:.0%} {kept} the error of given answers under "
        f"{decision.target_error:.1%}; it answers {decision.coverage:.1%} of the pictures."
    )
    say(studied.curve.sentence)


def _share(metrics: dict[str, Any]) -> str:
    low, high = metrics["balanced_accuracy_interval_95"]
    return f"{metrics['balanced_accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%})"


def _packages() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _RECORDED
    }


def _command(request: FitOptions, config: FitConfig) -> str:
    """The command line that repeats the run."""
    words = ["python", "-m", "training", "fit", str(request.data), "--backbone", config.backbone]
    if request.weights:
        words += ["--weights", str(request.weights)]
    if request.groups:
        words += ["--groups", str(request.groups)]
    if request.group_pattern:
        words += ["--group-pattern", request.group_pattern]
    if request.strict:
        words += ["--strict"]
    for given in request.tests:
        words += ["--test", given]
    if request.robustness:
        words += ["--robustness"]
    if request.finetune:
        words += ["--finetune", str(request.finetune.unfreeze)]
        words += ["--epochs", str(request.finetune.epochs)]
    if config.crop == "faces":
        words += ["--crop", "faces"]
    words += ["--precision", config.precision, "--views", str(config.views)]
    words += ["--seed", str(config.seed), "--target-error", f"{config.target_error:g}"]
    return shlex.join(words)
