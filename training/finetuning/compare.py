"""Was fine-tuning worth it? The head alone and the tuned network, judged on the same folds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from training.backbones.registry import LoadedBackbone
from training.config import FitConfig
from training.evaluation.cross_validation import best_penalty, grouped_folds, summarise
from training.evaluation.head import Classes, Features, fit_head, log_loss, softmax
from training.finetuning.config import FinetuneConfig
from training.finetuning.loop import Finetuned, finetune, logits_of
from training.finetuning.run import balanced_accuracy

_SIGNIFICANCE: Final = 0.05
_DRAWN_AT_ONCE: Final = 4_000_000  # numbers: 32 MB


@dataclass(frozen=True)
class Comparison:
    """Every picture judged twice by models that saw neither it nor its group.

    Attributes:
        head_only: float64 (n, K): logits of heads on the backbone as it was.
        finetuned: float64 (n, K): logits of networks tuned from those heads.
        folds: int64 (n,): the fold that a picture was judged in.
        best_epochs: The best epoch of each fold's run; 0 where none beat its start.
        difference: Balanced accuracy of the tuned networks minus that of the heads.
        interval_95: Its interval, a bootstrap over groups, paired.
        p_value: Of the two-sided sign test over the groups that the two judge differently.
        better: Which one is; neither where the data cannot tell.
        verdict: The same in a sentence.
    """

    head_only: NDArray[np.float64]
    finetuned: NDArray[np.float64]
    folds: NDArray[np.int64]
    best_epochs: list[int]
    difference: float
    interval_95: tuple[float, float]
    p_value: float
    better: Literal["head_only", "finetuned", "neither"]
    verdict: str

    def summary(
        self,
        tuned: Finetuned,
        classes: Classes,
        groups: NDArray[np.int64],
        labels: Sequence[str],
        *,
        config: FitConfig,
    ) -> dict[str, Any]:
        """For the report and the manifest, with the curves of the run that is published."""
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
            name: summarise(softmax(logits), classes, groups, labels, config=config)
            | {"log_loss": log_loss(logits, classes)}
            for name, logits in both.items()
        }


def compare(
    backbone: LoadedBackbone,
    features: Features,
    pixels: Tensor,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    config: FinetuneConfig,
    fit: FitConfig,
    checkpoint: Path,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Comparison:
    """Cross-validate both ways on the same grouped folds.

    A fold's head, its penalty, its tuning and the part that stops the tuning all come from
    inside the fold's training part. Each fold has a checkpoint folder of its own, so that a
    resumed comparison goes on in the fold that it was killed in.

    Args:
        backbone: The pretrained network.
        features: (n, D) of it.
        pixels: uint8 (n, 3, S, S).
        classes: (n,).
        groups: (n,).
        count: Classes K.
        config: Of fine-tuning; its `folds` and `seed` make the folds.
        fit: Of the heads: penalties and inner folds.
        checkpoint: Folder; fold 1 goes to `fold-1` in it.
        resume: Go on from the checkpoints that there are.
        say: Takes lines for the person who waits.
        progress: Takes (pictures just done, most pictures in all).

    Raises:
        TrainingError: As `finetune`.
    """
    head_only, finetuned = np.zeros((len(classes), count)), np.zeros((len(classes), count))
    fold_of = np.zeros(len(classes), dtype=np.int64)
    best_epochs = []
    folds = grouped_folds(classes, groups, folds=config.folds, seed=config.seed)
    for number, (learn, judge) in enumerate(folds, start=1):
        say(f"Fold {number} of {len(folds)}: {len(learn)} pictures to learn from.")
        penalty = best_penalty(
            features[learn], classes[learn], groups[learn], count=count, config=fit
        )
        head = fit_head(features[learn], classes[learn], count=count, penalty=penalty)
        tuned = finetune(
            backbone,
            head,
            pixels,
            classes,
            groups,
            count=count,
            config=config,
            checkpoint=checkpoint / f"fold-{number}",
            resume=resume,
            features=features,
            among=learn,
            say=say,
            progress=lambda done, total: progress(done, total * len(folds)),
        )
        best_epochs.append(tuned.best_epoch)
        fold_of[judge] = number - 1
        head_only[judge] = head.logits(features[judge])
        # The start gives the head's own numbers, to the last bit.
        finetuned[judge] = logits_of(tuned, pixels, judge) if tuned.best_epoch else head_only[judge]
    return judge_difference(
        Comparison(head_only, finetuned, fold_of, best_epochs, 0.0, (0.0, 0.0), 1.0, "neither", ""),
        classes,
        groups,
        config=config,
    )


def judge_difference(
    comparison: Comparison,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    config: FinetuneConfig,
) -> Comparison:
    """Fill in the difference, how sure it is, and the sentence.

    One is called better only if the bootstrap's interval leaves out zero and a sign test over
    groups agrees: with a handful of pictures judged differently the bootstrap alone is too bold
    (four of four for one side: interval above zero, sign test p = 0.125).
    """
    right = [
        logits.argmax(axis=1) == classes for logits in (comparison.finetuned, comparison.head_only)
    ]
    gain = right[0].astype(np.int64) - right[1].astype(np.int64)  # -1, 0 or 1 a picture
    difference = balanced_accuracy(comparison.finetuned, classes) - balanced_accuracy(
        comparison.head_only, classes
    )
    interval = _paired_bootstrap(gain, classes, groups, draws=config.draws, seed=config.seed)
    _, group = np.unique(groups, return_inverse=True)
    by_group = np.bincount(group, weights=gain)
    up, down = int((by_group > 0).sum()), int((by_group < 0).sum())
    p_value = float(binomtest(up, up + down).pvalue) if up + down else 1.0
    better: Literal["head_only", "finetuned", "neither"] = "neither"
    if p_value < _SIGNIFICANCE and interval[0] > 0:
        better = "finetuned"
    elif p_value < _SIGNIFICANCE and interval[1] < 0:
        better = "head_only"
    fact = {
        "finetuned": "Fine-tuning was better than the head alone on the same folds",
        "head_only": "Fine-tuning was worse than the head alone on the same folds",
        "neither": "No clear difference between fine-tuning and the head alone on the same folds",
    }[better]
    verdict = (
        f"{fact}: balanced accuracy {balanced_accuracy(comparison.finetuned, classes):.1%} "
        f"against {balanced_accuracy(comparison.head_only, classes):.1%}, a difference of "
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
    """95 % interval of the mean over classes of each class's mean gain, whole groups drawn."""
    _, group = np.unique(groups, return_inverse=True)
    present = np.unique(classes)
    many = int(group.max()) + 1
    gains = np.zeros((many, len(present)))  # groups x classes
    sizes = np.zeros((many, len(present)))
    for at, k in enumerate(present):
        inside = classes == k
        gains[:, at] = np.bincount(group[inside], weights=gain[inside], minlength=many)
        sizes[:, at] = np.bincount(group[inside], minlength=many)
    random = np.random.default_rng(seed)
    chunk = max(1, _DRAWN_AT_ONCE // many)
    found: list[NDArray[np.float64]] = []
    for at in range(0, draws, chunk):
        drawn = random.multinomial(many, np.full(many, 1 / many), size=min(chunk, draws - at))
        shares = (drawn @ gains) / np.where(drawn @ sizes > 0, drawn @ sizes, np.nan)
        found.append(shares.mean(axis=1))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]  # a draw without any picture of a class says nothing
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (-1.0, 1.0)
    return float(low), float(high)
