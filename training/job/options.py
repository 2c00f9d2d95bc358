"""Inputs and outputs of a run, and the command line that repeats it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.text import clean
from training.config import FitConfig
from training.finetuning.config import FinetuneConfig
from training.publish.provenance import command_line


@dataclass(frozen=True)
class FitOptions:
    """Inputs and outputs of a run, apart from its hyper-parameters.

    Attributes:
        data: Folder or zip file with one folder of pictures per class.
        store: Where to publish.
        cache: Folder of the feature cache.
        weights: Local weights for the backbone.
        features: Path or URL of extracted features, which need not be extracted again.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        strict: Refuse to train if any picture is unreadable.
        tests: Holdout sets: a folder of class folders, or LABEL=FOLDER.
        robustness: Corrupt held-out pictures and report how far accuracy falls.
        examples: Publish one training picture per class with the model.
        finetune: Fine-tune, too, and publish what was better on the same folds.
        resume: Go on from the checkpoints of a fine-tuning that was cut short.
        checkpoint: Folder of those and of its event files; `finetune` in the cache by default.
        sign_key: Private key that signs the bundle.
        promotion: `auto`: make the bundle current unless it is shown worse than the current one;
            `always`; or `never`: publish only.
        min_accuracy: Balanced accuracy below which the bundle is never made current.
    """

    data: Path
    store: Path
    cache: Path
    weights: Path | None = None
    features: str | None = None
    groups: Path | None = None
    group_pattern: str | None = None
    strict: bool = False
    tests: Sequence[str] = ()
    robustness: bool = False
    examples: bool = False
    finetune: FinetuneConfig | None = None
    resume: bool = False
    checkpoint: Path | None = None
    sign_key: Path | None = None
    promotion: Literal["auto", "always", "never"] = "auto"
    min_accuracy: float | None = None


def command_of(options: FitOptions, config: FitConfig) -> str:
    """Return the command line that repeats a run."""
    finetune = options.finetune
    command = command_line(
        options.data,
        {
            "--backbone": config.backbone,
            "--weights": options.weights,
            "--features": options.features,
            "--groups": options.groups,
            "--group-pattern": options.group_pattern,
            "--strict": options.strict,
            "--test": tuple(options.tests),
            "--robustness": options.robustness,
            "--examples": options.examples,
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
