"""Fine-tuning: the head's gradient reaches into the backbone, for data sets that can afford it.

    fitted head -> unfreeze the last stage(s) -> epochs on changed pictures, each judged on plain
    pictures of a group-disjoint part -> the best epoch, frozen again

It begins at a head that is already fitted: a random one would first tear the pretrained
features (Kumar et al. 2022, "Fine-tuning can distort pretrained features"). The head at the
start is refitted without the part that judges, else that part would favour the start; if no
epoch beats the start, the network and the head that were given come back as they were.

Nothing here is ever in `train()`: batch normalisation keeps its pretrained statistics, in the
frozen part because they must not drift (pytorch#86590), in the unfrozen one because those of 16
pictures are worse than ImageNet's. Its scale and shift are trained like any other parameter.

Every random draw is a function of the seed, the epoch and the picture. A run that was killed
and goes on from its checkpoint thus ends with the same bytes, on the same machine and number
of cores; on a GPU, as far as PyTorch's kernels there are deterministic.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.backbones.registry import LoadedBackbone
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features, Head
from training.finetuning.checkpoint import Progress, fingerprint, load, save
from training.finetuning.config import FinetuneConfig
from training.finetuning.events import Events
from training.finetuning.run import Joint, Run, judge
from training.finetuning.step import choose_device, repeatable

__all__ = ["FinetuneConfig", "Finetuned", "finetune", "logits_of"]


@dataclass(frozen=True)
class Finetuned:
    """The outcome of a run.

    Attributes:
        backbone: The network at its best epoch, frozen and in `eval()`; its facts say that it
            was tuned, and carry its own checksum.
        head: The head that belongs to it.
        epochs: One row an epoch: epoch, train_loss, val_loss, val_loss_calibrated,
            train_accuracy, val_accuracy, lr. Losses and accuracies weigh each class the same.
            Epoch 0 is the start, on plain pictures; later training figures are on changed
            pictures, as they were met.
        best_epoch: The epoch with the least calibrated loss on the validation part; 0 if none
            was better than the start.
    """

    backbone: LoadedBackbone
    head: Head
    epochs: list[dict[str, Any]]
    best_epoch: int

    @property
    def network(self) -> nn.Module:
        """Float (N, 3, S, S) -> float (N, D, h, w)."""
        return self.backbone.network


def finetune(
    backbone: LoadedBackbone,
    head: Head,
    pixels: Tensor,
    classes: Classes,
    groups: NDArray[np.int64],
    *,
    count: int,
    config: FinetuneConfig,
    checkpoint: Path,
    resume: bool = False,
    features: Features | None = None,
    among: NDArray[np.int64] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Finetuned:
    """Fine-tune a backbone and its head.

    Args:
        backbone: The pretrained network; it is copied, not changed.
        head: Fitted on its features.
        pixels: uint8 (n, 3, S, S), as the service decodes pictures.
        classes: (n,).
        groups: (n,) group numbers; none is in both the training and the validation part.
        count: Classes K.
        config: Hyper-parameters.
        checkpoint: Folder of the checkpoint and the event files.
        resume: Go on from the checkpoint, if there is one; otherwise it is written over.
        features: (n, D) of the backbone as given, if at hand; saves one pass.
        among: Places of the pictures that take part; all by default.
        say: Takes a line an epoch.
        progress: Takes (pictures just done, most pictures in all).

    Raises:
        CheckpointMismatch: Resuming, and the checkpoint is of another run or unreadable.
        TooFewPictures: As `grouped_folds`.
        BadFinetuneConfig: The network has not so many stages.
        Diverged: The loss is no number any more.
        OutputError: The checkpoint folder cannot be written.
    """
    places = np.arange(len(classes)) if among is None else among
    facts = config.as_dict() | {
        "classes": count,
        "penalty": head.penalty,
        "backbone": [backbone.spec.name, backbone.facts.weights_sha256],
    }
    key = fingerprint(facts, pixels, places, classes[places], groups[places])
    done = load(checkpoint, key) if resume else None
    if resume and done is None:
        say(f"{checkpoint} holds no checkpoint to go on from: starting at the beginning.")
    learn, held_out = (places[part] for part in _split(classes[places], groups[places], config))
    device = choose_device()
    with repeatable(device):
        run = Run(backbone, pixels, classes, learn, held_out, count, config, device)
        if done is None:
            now = run.begin(key, head.penalty, features)
            save(checkpoint, now)
            say(
                f"Fine-tuning starts at {now.history[0]['val_accuracy']:.1%} accuracy on a "
                f"validation part of {len(held_out)} pictures; it learns from {len(learn)}."
            )
        else:
            now = done
            run.restore(now)
            say(
                f"This run had come to its end: its result is in {checkpoint}."
                if now.finished
                else f"Going on after epoch {now.epoch} of {config.epochs}."
            )
        total = config.epochs * len(learn)
        progress(now.epoch * len(learn), total)
        events = Events(checkpoint, now.history)
        try:
            while not now.finished:
                now = run.epoch(now, lambda done: progress(done, total))
                save(checkpoint, now)
                events.add(now.history[-1])
                say(_line(now, config))
        finally:
            events.close()
        if now.best_epoch == 0:
            say(
                "No epoch beat the head alone on the validation part: the backbone stays as it was."
            )
            return Finetuned(backbone, head, now.history, 0)
        tuned, tuned_head = run.result(now, head.penalty)
    return Finetuned(
        _with_network(backbone, tuned, config), tuned_head, now.history, now.best_epoch
    )


def logits_of(tuned: Finetuned, pixels: Tensor, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Judge plain pictures: (m, K) logits for m places of `pixels`."""
    device = choose_device()
    with repeatable(device):
        joint = Joint(tuned.backbone, tuned.head)
        joint.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return judge(joint, pixels, places, device)


def _split(
    classes: Classes, groups: NDArray[np.int64], config: FinetuneConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places to learn from and to judge each epoch on; no group is in both."""
    folds = max(2, round(1 / config.validation_share))
    return grouped_folds(classes, groups, folds=folds, seed=config.seed)[0]


def _line(now: Progress, config: FinetuneConfig) -> str:
    row = now.history[-1]
    stop = f"; stopped, epoch {now.best_epoch} was best" if now.finished else ""
    return (
        f"Epoch {row['epoch']} of {config.epochs}: loss {row['train_loss']:.3f}, "
        f"on the validation part {row['val_loss']:.3f}; accuracy {row['train_accuracy']:.1%}, "
        f"on the validation part {row['val_accuracy']:.1%}{stop}."
    )


def _with_network(
    backbone: LoadedBackbone, network: nn.Module, config: FinetuneConfig
) -> LoadedBackbone:
    """The backbone's row with a tuned network, whose facts say so."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    part = {"last": "last stage", "all": "all stages"}.get(
        str(config.unfreeze), f"last {config.unfreeze} stages"
    )
    facts = backbone.facts.model_copy(
        update={
            "source": f"{backbone.facts.source}; {part} fine-tuned on the data set",
            "weights_sha256": digest.hexdigest(),
        }
    )
    return LoadedBackbone(backbone.spec, network, facts)
