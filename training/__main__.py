"""The training job's command line: `python -m training --help`."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from models.bundle.store import DEFAULT_STORE, current_version
from models.errors import FacemaskError, NoBundle
from training.config import PRESETS, FitConfig, default_cache
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.finetuning.config import FinetuneConfig

_FOUND = 7  # `audit --fail-on`: the data have what was asked to fail on

_INTERRUPTED = 130  # the shell's status for a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _as_interrupt)  # `docker stop` is to end as Ctrl-C does
    try:
        status: int = arguments.run(arguments)
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        print(
            "interrupted: nothing was published; run the same command again to go on, "
            "pictures already read come from the cache",
            file=sys.stderr,
        )
        return _INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train a picture classifier and publish it."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sample = commands.add_parser("sample", help="write a synthetic sample data set")
    sample.add_argument("directory", type=Path, metavar="DIR", help="folder to make")
    sample.add_argument(
        "--classes",
        nargs="+",
        choices=("mask", "no_mask", "incorrect"),
        default=("mask", "no_mask"),
        help="folders to draw (mask no_mask); incorrect: masks worn below the nose",
    )
    sample.add_argument("--per-class", type=int, default=180, help="pictures a class (180)")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--if-missing", action="store_true", help="do nothing if DIR exists")
    sample.set_defaults(run=_sample)

    fit = commands.add_parser("fit", help="train on a folder with one folder per class")
    defaults = FitConfig()
    fit.add_argument("data", type=Path, metavar="DIR", help="folder or zip file of the pictures")
    fit.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_STORE,
        metavar="STORE",
        help=f"store to publish in ({DEFAULT_STORE})",
    )
    extractor = fit.add_mutually_exclusive_group()
    extractor.add_argument(
        "--backbone",
        default=defaults.backbone,
        metavar="NAME",
        help=f"pretrained feature extractor ({defaults.backbone})",
    )
    extractor.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="a backbone by what it is for: "
        + ", ".join(f"{name} is {backbone}" for name, backbone in PRESETS.items()),
    )
    fit.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="local state dict instead of the published weights",
    )
    fit.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="table file,group of pictures that belong together (DIR/groups.csv)",
    )
    fit.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="take a picture's group from the first (bracket) found in its name",
    )
    fit.add_argument(
        "--test",
        action="append",
        default=[],
        metavar="[LABEL=]DIR",
        help="separate pictures to judge the model on: class folders, or all of one class",
    )
    fit.add_argument(
        "--target-error",
        type=_share,
        default=defaults.target_error,
        metavar="SHARE",
        help="wanted share of wrong answers among those given; less sure ones are 'uncertain' "
        f"({defaults.target_error:g})",
    )
    fit.add_argument("--seed", type=int, default=defaults.seed)
    fit.add_argument(
        "--crop",
        choices=("whole", "faces"),
        default=defaults.crop,
        help="learn from whole pictures, or from the main face of each; the service then does "
        f"likewise ({defaults.crop})",
    )
    fit.add_argument(
        "--precision",
        choices=("auto", "fp32", "int8"),
        default=defaults.precision,
        help="arithmetic of the backbone; auto: int8 where it is as accurate on the same folds, "
        f"and faster ({defaults.precision})",
    )
    fit.add_argument(
        "--views",
        type=_count,
        default=defaults.views,
        metavar="N",
        help=f"changed copies of each picture that the head learns from, too ({defaults.views})",
    )
    fit.add_argument(
        "--robustness",
        action="store_true",
        help="damage held-out pictures in 40 ways and report how far accuracy falls (a minute)",
    )
    fit.add_argument(
        "--finetune",
        nargs="?",
        const="last",
        metavar="STAGES",
        help="train the backbone's last stage, 'all', or so many of the last stages, too, and "
        "publish what is better on the same folds",
    )
    fit.add_argument("--epochs", type=int, help="most epochs of fine-tuning")
    fit.add_argument(
        "--resume", action="store_true", help="go on with a fine-tuning that was cut short"
    )
    fit.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="checkpoints and TensorBoard event files of fine-tuning ('finetune' in the cache)",
    )
    fit.add_argument(
        "--cache",
        type=Path,
        default=None,
        metavar="FOLDER",
        help=f"folder of the feature cache ({default_cache()})",
    )
    fit.add_argument(
        "--sign-key",
        type=Path,
        metavar="FILE",
        help="sign the bundle with this private key (`python -m models keygen FILE`)",
    )
    fit.add_argument("--strict", action="store_true", help="refuse unreadable pictures")
    fit.add_argument(
        "--if-missing", action="store_true", help="do nothing if STORE already has a current bundle"
    )
    fit.set_defaults(run=_fit)
    _add_audit(commands, defaults)
    return parser


def _add_audit(commands: Any, defaults: FitConfig) -> None:
    audit = commands.add_parser(
        "audit",
        help="look for faults of a data set, without training on it",
        description="Look for unreadable files, copies, wrong labels, odd pictures and shortcuts. "
        f"Ends with status 0, or {_FOUND} where --fail-on says so.",
    )
    audit.add_argument("data", type=Path, metavar="DIR", help="folder or zip file of the pictures")
    audit.add_argument(
        "--fail-on",
        choices=("error", "warning", "info"),
        help=f"end with status {_FOUND} if anything of this level, or a worse one, is found",
    )
    audit.add_argument("--json", type=Path, metavar="FILE", help="write the findings there, too")
    audit.add_argument(
        "--no-model",
        action="store_true",
        help="load no network: labels are then not checked for being wrong",
    )
    audit.add_argument(
        "--backbone",
        default=defaults.backbone,
        metavar="NAME",
        help=f"feature extractor that labels are checked with ({defaults.backbone})",
    )
    audit.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="local state dict instead of the published weights",
    )
    audit.add_argument(
        "--groups",
        type=Path,
        metavar="CSV",
        help="table file,group of pictures that belong together (DIR/groups.csv)",
    )
    audit.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help="take a picture's group from the first (bracket) found in its name",
    )
    audit.add_argument("--seed", type=int, default=defaults.seed)
    audit.add_argument(
        "--cache",
        type=Path,
        default=None,
        metavar="FOLDER",
        help=f"folder of the feature cache ({default_cache()})",
    )
    audit.set_defaults(run=_audit)


def _sample(arguments: argparse.Namespace) -> int:
    from training.sample import make_sample

    if arguments.if_missing and arguments.directory.is_dir():
        print(f"{arguments.directory} is there already.")
        return 0
    classes = list(dict.fromkeys(arguments.classes))
    with tqdm(total=len(classes) * arguments.per_class, unit="pic", disable=None) as bar:

        def show(done: int) -> None:
            bar.update(done - bar.n)

        make_sample(
            arguments.directory,
            classes=classes,
            per_class=arguments.per_class,
            seed=arguments.seed,
            progress=lambda done, total: show(done),
        )
    print(arguments.directory)
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    if arguments.if_missing:
        try:
            print(arguments.out / current_version(arguments.out))
        except NoBundle:
            pass
        else:
            return 0
    from training.job import Request, fit  # PyTorch and scikit-learn take a second to load

    config = dataclasses.replace(
        FitConfig(),
        backbone=PRESETS.get(arguments.preset, arguments.backbone),
        seed=arguments.seed,
        target_error=arguments.target_error,
        crop=arguments.crop,
        precision=arguments.precision,
        views=arguments.views,
    )
    request = Request(
        data=arguments.data,
        store=arguments.out,
        cache=arguments.cache or default_cache(),
        weights=arguments.weights,
        groups=arguments.groups,
        group_pattern=arguments.group_pattern,
        strict=arguments.strict,
        tests=arguments.test,
        robustness=arguments.robustness,
        finetune=_finetuning(arguments),
        resume=arguments.resume,
        checkpoint=arguments.checkpoint,
        sign_key=arguments.sign_key,
    )
    with _Waiting() as waiting:
        bundle = fit(request, config, say=waiting.say, progress=waiting.progress)
    print(bundle.path)
    return 0


def _finetuning(arguments: argparse.Namespace) -> "FinetuneConfig | None":
    from training.finetuning.config import FinetuneConfig

    if arguments.finetune is None:
        return None
    asked: dict[str, Any] = {"unfreeze": arguments.finetune, "seed": arguments.seed}
    if arguments.finetune not in ("last", "all"):
        asked["unfreeze"] = _stages(arguments.finetune)
    if arguments.epochs is not None:
        asked["epochs"] = arguments.epochs
    return FinetuneConfig(**asked)


def _stages(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise TrainingError(f"--finetune {text}: 'last', 'all' or a number of stages is needed.")
    return int(text)


def _audit(arguments: argparse.Namespace) -> int:
    from training.audit.command import audit_folder
    from training.audit.findings import LEVELS, lines, worst, write_json

    config = dataclasses.replace(FitConfig(), backbone=arguments.backbone, seed=arguments.seed)
    with _Waiting() as waiting:
        findings = audit_folder(
            arguments.data,
            config,
            cache=arguments.cache or default_cache(),
            model=not arguments.no_model,
            weights=arguments.weights,
            groups=arguments.groups,
            group_pattern=arguments.group_pattern,
            say=waiting.say,
            progress=waiting.progress,
        )
    if arguments.json:
        write_json(findings, arguments.json)
    print("\n".join(lines(findings)))
    found = worst(findings)
    if arguments.fail_on is None or found is None:
        return 0
    return _FOUND if LEVELS.index(found) <= LEVELS.index(arguments.fail_on) else 0


class _Waiting:
    """A progress bar on standard error, and lines on standard output above it."""

    def __enter__(self) -> "_Waiting":
        self._bar = tqdm(unit="pic", disable=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, line: str) -> None:
        self._bar.write(line, file=sys.stdout)

    def progress(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{text} is below zero")
    return count


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
