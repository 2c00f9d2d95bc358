"""Comparison of fine-tuning with the head alone, cross-validated on the same folds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.data.progress import SILENT, Progress
from training.evaluation.cross_validation import best_penalty, grouped_folds
from training.evaluation.head import Classes, Features, fit_head, log_loss, softmax
from training.evaluation.metrics import balanced_accuracy, classification_metrics
from training.finetuning.config import FinetuneConfig
from training.finetuning.loop import Finetuned, finetune, predict_logits
from training.finetuning.pixels import LabelledPixels

Better = Literal["head_only", "finetuned", "neither"]

_SIGNIFICANCE: Final = 0.05
_MAX_DRAWS_IN_MEMORY: Final = 4_000_000  # numbers: 32 MB


@dataclass(frozen=True)
class Comparison:
    """Out-of-fold logits of both models, and the verdict.

    Attributes:
        head_only: float64 (n, K): logits of heads on the pretrained backbone.
        finetuned: float64 (n, K): logits of networks tuned from those heads.
        folds: int64 (n,): test fold of each picture.
        best_epochs: The best epoch of each fold's run; 0 where none beat its start.
        difference: Balanced accuracy of the tuned networks minus that of the heads.
        interval_95: Interval of `difference`, by a paired bootstrap over groups.
        p_value: P-value of the two-sided sign test over groups on which the models differ.
        better: The better model; "neither" where the data cannot show a difference.
        verdict: The same in a sentence.
    """

    head_only: NDArray[np.float64]
    finetuned: NDArray[np.float64]
    folds: NDArray[np.int64]
    best_epochs: list[int]
    difference: float = 0.0
    interval_95: tuple[float, float] = (0.0, 0.0)
    p_value: float = 1.0
    better: Better = "neither"
    verdict: str = ""

    def summary(
        self, tuned: Finetuned, data: LabelledPixels, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Return block `finetuning` of summary.json, with the epochs of the run on all pictures."""
        both = {"head_only": self.head_only, "finetuned": self.finetuned}
        return {
            "epochs": tuned.epochs,
            "best_epoch": tuned.best_epoch,
            "best_epochs_of_folds": self.best_epochs,
            "verdict": self.verdict,
            "better": self.better,
            "difference": self.difference,
            "difference_interval_95": list(self.interval_95),
            "p_value": self.p_value,
        } | {
            name: classification_metrics(
                softmax(logits), data.classes, data.groups, labels, cross_validated=True
            )
            | {"log_loss": log_loss(logits, data.classes)}
            for name, logits in both.items()
        }


def compare(
    backbone: LoadedBackbone,
    features: Features,
    data: LabelledPixels,
    *,
    config: FinetuneConfig,
    fit: FitConfig,
    checkpoint: Path,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Comparison:
    """Cross-validate both models on the same grouped folds.

    A fold's head, its penalty, its fine-tuning and the validation part that stops it all come
    from the fold's training part. Each fold has its own checkpoint folder, so that a resumed
    comparison continues in the fold in which it was killed.

    Args:
        backbone: The pretrained network.
        features: Its features (n, F).
        data: The pictures.
        config: Hyper-parameters of fine-tuning; `folds` and `seed` define the folds.
        fit: Hyper-parameters of the heads: penalties and inner folds.
        checkpoint: Folder; fold 1 is in its subfolder `fold-1`.
        resume: Continue from existing checkpoints.
        progress: Logs a line per fold and epoch; advanced per batch.

    Raises:
        TrainingError: As `finetune`.
    """
    classes, groups, num_classes = data.classes, data.groups, data.num_classes
    head_only = np.zeros((len(classes), num_classes))
    finetuned = np.zeros((len(classes), num_classes))
    fold_of = np.zeros(len(classes), dtype=np.int64)
    best_epochs = []
    folds = grouped_folds(classes, groups, folds=config.folds, seed=config.seed)
    per_fold = replace(
        progress, advance=lambda done, total: progress.advance(done, total * len(folds))
    )
    for number, (train, test) in enumerate(folds, start=1):
        progress.log(f"Fold {number} of {len(folds)}: {len(train)} pictures to learn from.")
        penalty = best_penalty(features[train], classes[train], groups[train], config=fit)
        head = fit_head(features[train], classes[train], penalty=penalty)
        tuned = finetune(
            backbone,
            head,
            features,
            data,
            config=config,
            checkpoint=checkpoint / f"fold-{number}",
            resume=resume,
            subset=train,
            progress=per_fold,
        )
        best_epochs.append(tuned.best_epoch)
        fold_of[test] = number - 1
        head_only[test] = head.logits(features[test])
        # At epoch 0 the logits are the head's own, to the last bit.
        finetuned[test] = predict_logits(tuned, data, test) if tuned.best_epoch else head_only[test]
    return decide(Comparison(head_only, finetuned, fold_of, best_epochs), data, config=config)


def decide(comparison: Comparison, data: LabelledPixels, *, config: FinetuneConfig) -> Comparison:
    """Return the comparison with its difference, interval, p-value and verdict.

    A model is called better only if the bootstrap's interval excludes zero and a sign test over
    groups agrees: with few differing pictures the bootstrap alone is too bold (four of four for
    one model: interval above zero, sign test p = 0.125).
    """
    classes = data.classes
    correct = {
        "finetuned": comparison.finetuned.argmax(axis=1) == classes,
        "head_only": comparison.head_only.argmax(axis=1) == classes,
    }
    accuracy = {name: balanced_accuracy(correct[name], classes) for name in correct}
    difference = accuracy["finetuned"] - accuracy["head_only"]
    # Per picture: 1 if only the tuned network is correct, -1 if only the head is, else 0.
    gain = correct["finetuned"].astype(np.int64) - correct["head_only"].astype(np.int64)
    interval = _paired_bootstrap(gain, classes, data.groups, draws=config.draws, seed=config.seed)
    _, group = np.unique(data.groups, return_inverse=True)
    gain_of_group = np.bincount(group, weights=gain)
    up, down = int((gain_of_group > 0).sum()), int((gain_of_group < 0).sum())
    p_value = float(binomtest(up, up + down).pvalue) if up + down else 1.0
    better: Better = "neither"
    if p_value < _SIGNIFICANCE and interval[0] > 0:
        better = "finetuned"
    elif p_value < _SIGNIFICANCE and interval[1] < 0:
        better = "head_only"
    conclusion = {
        "finetuned": "Fine-tuning was better than the head alone on the same folds",
        "head_only": "Fine-tuning was worse than the head alone on the same folds",
        "neither": "No clear difference between fine-tuning and the head alone on the same folds",
    }[better]
    verdict = (
        f"{conclusion}: balanced accuracy {accuracy['finetuned']:.1%} "
        f"against {accuracy['head_only']:.1%}, a difference of "
        f"{100 * difference:+.1f} points (95 % interval {100 * interval[0]:+.1f} to "
        f"{100 * interval[1]:+.1f}); {int((gain > 0).sum())} pictures gained, "
        f"{int((gain < 0).sum())} lost."
    )
    if kept := comparison.best_epochs.count(0):
        verdict += (
            f" In {kept} of {len(comparison.best_epochs)} folds no epoch beat the start, and the "
            "head alone was kept."
        )
    return replace(
        comparison,
        difference=difference,
        interval_95=interval,
        p_value=p_value,
        better=better,
        verdict=verdict,
    )


def _paired_bootstrap(
    gain: NDArray[np.int64], classes: Classes, groups: NDArray[np.int64], *, draws: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of the balanced mean gain, by drawing whole groups."""
    _, group = np.unique(groups, return_inverse=True)
    present = np.unique(classes)
    num_groups = int(group.max()) + 1
    gains = np.zeros((num_groups, len(present)))
    sizes = np.zeros((num_groups, len(present)))
    for column, k in enumerate(present):
        inside = classes == k
        gains[:, column] = np.bincount(group[inside], weights=gain[inside], minlength=num_groups)
        sizes[:, column] = np.bincount(group[inside], minlength=num_groups)
    random = np.random.default_rng(seed)
    chunk = max(1, _MAX_DRAWS_IN_MEMORY // num_groups)
    parts: list[NDArray[np.float64]] = []
    for start in range(0, draws, chunk):
        times = random.multinomial(
            num_groups, np.full(num_groups, 1 / num_groups), size=min(chunk, draws - start)
        )
        means = (times @ gains) / np.where(times @ sizes > 0, times @ sizes, np.nan)
        parts.append(means.mean(axis=1))
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]  # a draw that lacks a class is dropped
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (-1.0, 1.0)
    return float(low), float(high)
