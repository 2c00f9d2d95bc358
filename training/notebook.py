"""Training from a notebook or a program: `training.fit("pictures", preset="fast")`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models.bundle.store import default_store
from models.text import clean
from training.cli.progress.reporter import report_run
from training.cli.progress.steps import fit_steps
from training.config import PRESETS, FitConfig, default_cache
from training.errors import UnknownBackbone

if TYPE_CHECKING:
    from training.finetuning.config import FinetuneConfig
    from training.job import Fitted

PathLike = str | os.PathLike[str]
_DEFAULTS = FitConfig()


def fit(
    data: PathLike,
    *,
    store: PathLike | None = None,
    preset: Literal["fast", "balanced", "accurate"] | None = None,
    backbone: str = _DEFAULTS.backbone,
    weights: PathLike | None = None,
    groups: PathLike | None = None,
    group_pattern: str | None = None,
    tests: Sequence[PathLike] = (),
    crop: Literal["whole", "faces"] = _DEFAULTS.crop,
    precision: Literal["auto", "fp32", "int8"] = _DEFAULTS.precision,
    views: int = _DEFAULTS.views,
    target_error: float = _DEFAULTS.target_error,
    seed: int = _DEFAULTS.seed,
    robustness: bool = False,
    strict: bool = False,
    finetune: "FinetuneConfig | None" = None,
    promote: bool | None = None,
    min_accuracy: float | None = None,
    cache: PathLike | None = None,
    progress: Literal["auto", "lines", "none"] = "auto",
) -> "Fitted":
    """Train on a folder with one folder of pictures per class, and publish the model.

    The other arguments are the options of `python -m training fit`, with the same meaning.

    Args:
        data: Folder or zip file of the pictures.
        store: Store to publish in; FACEMASK_STORE or models/artifacts by default.
        preset: A backbone by its purpose, instead of `backbone`.
        tests: Separate pictures to evaluate the model on: class folders, or "LABEL=FOLDER".
        finetune: Options of fine-tuning: `training.finetuning.config.FinetuneConfig()`.
        promote: Make the model current: always, never, or, by default, unless it is shown to be
            worse than the current one on the same pictures.
        progress: A line per step and every 15 seconds, or nothing.

    Returns:
        The result: `accuracy`, `confusion`, `mistakes`, `report`, `path`; a notebook shows it as
        its report.

    Raises:
        TrainingError, BundleError: See `training.errors` and `models.errors`.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownBackbone(f"No preset {preset!r}: there are {', '.join(PRESETS)}.")
    target = _path(store) or default_store()
    steps = fit_steps(
        precision=precision, views=views, finetune=finetune, tests=tests, robustness=robustness
    )
    facts = {"data": clean(str(data)), "store": clean(str(target))}
    with report_run(steps, facts, form=progress) as reporter:
        from training import job  # PyTorch and scikit-learn take a second to load

        options = job.FitOptions(
            data=Path(data),
            store=target,
            cache=_path(cache) or default_cache(),
            weights=_path(weights),
            groups=_path(groups),
            group_pattern=group_pattern,
            strict=strict,
            tests=[os.fspath(test) for test in tests],
            robustness=robustness,
            finetune=finetune,
            promotion="auto" if promote is None else "always" if promote else "never",
            min_accuracy=min_accuracy,
        )
        config = FitConfig(
            backbone=PRESETS[preset] if preset is not None else backbone,
            seed=seed,
            target_error=target_error,
            views=views,
            crop=crop,
            precision=precision,
        )
        return job.fit(options, config, progress=reporter.progress)


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)
