"""`python -m training fit`: train a classifier and publish it."""

import argparse
import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.bundle.store import DEFAULT_STORE, current_version, default_store, rollback_version
from models.errors import NoBundle
from models.terminal import format_box, write_line
from models.text import clean, percent, span
from training.cli.options import (
    DEFAULTS,
    add_backbone_options,
    add_data_options,
    add_run_options,
    count,
    share,
)
from training.cli.progress.reporter import add_progress_options, report_run
from training.cli.progress.steps import fit_steps
from training.config import PRESETS, FitConfig, default_cache
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.finetuning.config import FinetuneConfig
    from training.job import Fitted


NOT_PROMOTED_STATUS: Final = 8
"""Exit status after a check has kept the published model from being made current."""

_FEW_ANSWERS: Final = 0.8  # share of pictures that get a class; below it, advice is given


def add_command(commands: Any) -> None:
    """Declare the subcommand and its options."""
    parser = commands.add_parser("fit", help="train on a folder with one folder per class")
    add_data_options(parser)
    _add_output_options(parser)
    _add_model_options(parser)
    _add_evaluation_options(parser)
    _add_finetuning_options(parser)
    add_run_options(parser)
    add_progress_options(parser)
    parser.set_defaults(run=run)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        dest="store",
        type=Path,
        metavar="STORE",
        help=f"store to publish in (FACEMASK_STORE, or {DEFAULT_STORE} of the checkout)",
    )
    parser.add_argument(
        "--if-missing", action="store_true", help="do nothing if STORE already has a current bundle"
    )
    parser.add_argument(
        "--sign-key",
        type=Path,
        metavar="FILE",
        help="sign the bundle with this private key (`python -m models keygen FILE`)",
    )
    promotion = parser.add_mutually_exclusive_group()
    promotion.add_argument(
        "--no-promote",
        dest="promotion",
        action="store_const",
        const="never",
        default="auto",
        help="publish, and leave the current version as it is",
    )
    promotion.add_argument(
        "--promote",
        dest="promotion",
        action="store_const",
        const="always",
        help="make the model current even if it is shown to be worse than the current one on the "
        "same pictures",
    )
    parser.add_argument(
        "--min-accuracy",
        type=share,
        metavar="SHARE",
        help="do not make the model current if its cross-validated balanced accuracy is lower; "
        f"exit status {NOT_PROMOTED_STATUS}",
    )
    parser.add_argument(
        "--examples",
        action="store_true",
        help="publish one of the pictures per class with the model, for the service's page to "
        "show: only if all who can open the page may see them",
    )
    parser.add_argument("--strict", action="store_true", help="fail on an unreadable picture")


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    add_backbone_options(parser)
    parser.add_argument(
        "--features",
        metavar="FOLDER",
        help="features of `python -m training extract`, a path or URL: pictures of the same "
        "content are not extracted again; the model is fp32",
    )
    parser.add_argument(
        "--crop",
        choices=("whole", "faces"),
        default=DEFAULTS.crop,
        help="learn from whole pictures, or from the main face of each; the service then does "
        f"likewise ({DEFAULTS.crop})",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "int8"),
        default=DEFAULTS.precision,
        help="number format of the backbone; auto: int8 where it is as accurate on the same "
        f"folds, and faster ({DEFAULTS.precision})",
    )
    parser.add_argument(
        "--views",
        type=count,
        default=DEFAULTS.views,
        metavar="N",
        help=f"augmented copies of each picture that the head learns from, too ({DEFAULTS.views})",
    )
    parser.add_argument(
        "--target-error",
        type=share,
        default=DEFAULTS.target_error,
        metavar="SHARE",
        help="target share of wrong answers among those given; the others are 'uncertain' "
        f"({DEFAULTS.target_error:g})",
    )


def _add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--test",
        dest="tests",
        action="append",
        default=[],
        metavar="[LABEL=]DIR",
        help="separate pictures to evaluate the model on: class folders, or all of one class",
    )
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="corrupt held-out pictures in 40 ways and report how far accuracy falls (a minute)",
    )


def _add_finetuning_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--finetune",
        nargs="?",
        const="last",
        metavar="STAGES",
        help="train the backbone's last stage, 'all', or this number of the last stages, too, and "
        "publish what is better on the same folds",
    )
    parser.add_argument("--epochs", type=int, help="max epochs of fine-tuning")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted fine-tuning")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="checkpoints and TensorBoard event files of fine-tuning ('finetune' in the cache)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, publish, and print the bundle's path; under `torchrun` with all its processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return _fit(arguments)
    if arguments.finetune is None:
        raise TrainingError("Only --finetune uses the processes that torchrun starts.")
    from training.finetuning.follow import follow
    from training.finetuning.team import run_in_team

    return run_in_team(lambda: _fit(arguments), follow)


def _fit(arguments: argparse.Namespace) -> int:
    arguments.store = arguments.store or default_store()
    if arguments.if_missing:
        try:
            write_line(str(arguments.store / current_version(arguments.store)))
        except NoBundle:
            pass
        else:
            return 0
    facts = {"data": clean(str(arguments.data)), "store": clean(str(arguments.store))}
    steps = fit_steps(
        precision="fp32" if arguments.features else arguments.precision,
        views=arguments.views,
        finetune=arguments.finetune,
        tests=arguments.tests,
        robustness=arguments.robustness,
    )
    with report_run(
        steps, facts, form=arguments.progress, file=arguments.progress_file
    ) as reporter:
        with reporter.imports():
            from training.job import FitOptions, fit

        arguments.cache = arguments.cache or default_cache()
        arguments.backbone = PRESETS.get(arguments.preset, arguments.backbone)
        arguments.finetune = _finetune_config(arguments)
        options = FitOptions(**_fields(FitOptions, arguments))
        config = FitConfig(**_fields(FitConfig, arguments))
        fitted = fit(options, config, progress=reporter.progress)
        reporter.finish(_finished(fitted))
    for line in _closing_lines(fitted, arguments.store):
        write_line(clean(line))
    write_line(str(fitted.bundle.path))
    return NOT_PROMOTED_STATUS if fitted.promotion.refused else 0


def _finished(fitted: "Fitted") -> dict[str, Any]:
    """Return the facts of the event `finished`."""
    metrics = fitted.bundle.manifest.metrics["cross_validation"]
    promotion = fitted.promotion
    return {
        "version": fitted.bundle.manifest.version,
        "bundle": clean(str(fitted.bundle.path)),
        "promoted": promotion.promoted,
        "reason": promotion.reason,
        "exit_status": NOT_PROMOTED_STATUS if promotion.refused else 0,
        "accuracy": metrics["accuracy"],
        "balanced_accuracy": metrics["balanced_accuracy"],
        "comparison": promotion.comparison_dict(),
    }


def _closing_lines(fitted: "Fitted", store: Path) -> list[str]:
    """Return the closing box: figures, the change against the current model, and next steps.

    Lines are not wrapped, so that paths and commands can be copied.
    """
    promotion, version = fitted.promotion, fitted.version
    here = store.resolve() == default_store().resolve()
    at = "" if here else f" --store {shlex.quote(str(store))}"
    rows = [
        ("Accuracy", f"{percent(fitted.balanced_accuracy)} balanced "
                     f"({span(fitted.balanced_accuracy_interval)}), "
                     f"{len(fitted.mistakes):,} of {len(fitted.answers):,} pictures wrong"),
        ("Answers", _answers_line(fitted.summary["decision"])),
    ]  # fmt: skip
    if promotion.comparison is not None:
        rows.append(("Change", promotion.comparison.sentence))
    rows += [("Current", promotion.reason), ("Report", fitted.report.resolve().as_uri())]
    if promotion.promoted:
        prefix = "" if here else f"FACEMASK_STORE={shlex.quote(str(store.resolve()))} "
        rows.append(("Serve", f"{prefix}python -m service"))
        if rollback_version(store):
            rows.append(("Go back", f"python -m models rollback{at}"))
    else:
        rows.append(("Use it", f"python -m models promote{at} {version}"))
    return format_box(version, rows)


def _answers_line(decision: Mapping[str, Any]) -> str:
    """Return how many pictures get a class, and what helps if they are few."""
    coverage = decision["coverage"]
    if coverage == 1.0:
        return "every such picture gets a class"
    line = (
        f"{percent(coverage)} of such pictures get a class; the others are "
        f'"uncertain" (score below {percent(decision["threshold"])})'
    )
    if coverage < _FEW_ANSWERS:
        line += "; more pictures help, or right labels: see what it gets wrong in the report"
    return line


def _fields(options: type, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that are fields of a dataclass."""
    names = {field.name for field in dataclasses.fields(options)}
    return {name: value for name, value in vars(arguments).items() if name in names}


def _finetune_config(arguments: argparse.Namespace) -> "FinetuneConfig | None":
    from training.finetuning.config import FinetuneConfig

    unfreeze = arguments.finetune
    if unfreeze is None:
        return None
    if unfreeze not in ("last", "all"):
        if not unfreeze.isdecimal() or int(unfreeze) < 1:
            raise TrainingError(
                f"--finetune {unfreeze}: 'last', 'all' or a number of stages is needed."
            )
        unfreeze = int(unfreeze)
    epochs = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    return FinetuneConfig(unfreeze=unfreeze, seed=arguments.seed, **epochs)
