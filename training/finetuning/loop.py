"""Fine-tuning: gradients of the head reach into the backbone, for data sets large enough.

    fitted head -> unfreeze the last stage(s) -> epochs on augmented pictures, each validated on
    original pictures of a group-disjoint part -> the best epoch, frozen again

The start is a fitted head: a random one would first distort the pretrained features (Kumar et
al. 2022, "Fine-tuning can distort pretrained features"). The starting head is fitted again without
the validation part, which would otherwise favour the start. If no epoch beats the start, the
result is the network and the head as they were given.

No module is ever in `train()`: batch normalisation keeps its pretrained statistics, in the frozen
part because they must not drift (pytorch#86590), in the unfrozen part because those of 16
pictures are worse than ImageNet's. Its scale and shift are trained like any other parameter.

Every random draw is a function of the seed, the epoch and the picture. A run that was killed and
resumed from its checkpoint thus ends with the same bytes, on the same machine and number of
cores; on a GPU, as far as PyTorch's kernels there are deterministic.

Under `torchrun` the processes share each batch, and the sum of their gradients is that of one
process but for the order of its terms. Rank 0 sends what the others need to follow it.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.backbones.registry import LoadedBackbone
from training.data.progress import SILENT, Progress
from training.evaluation.cross_validation import grouped_folds
from training.evaluation.head import Classes, Features, Head
from training.finetuning import team
from training.finetuning.checkpoint import RunState, fingerprint, load, save
from training.finetuning.config import FinetuneConfig
from training.finetuning.device import choose_device, repeatable
from training.finetuning.events import EventWriter
from training.finetuning.follow import Begin, Epoch
from training.finetuning.network import TrainableClassifier
from training.finetuning.pixels import LabelledPixels
from training.finetuning.run import Run


@dataclass(frozen=True)
class Finetuned:
    """Result of a run.

    Attributes:
        backbone: The network at its best epoch, frozen and in `eval()`; its facts name the
            fine-tuning, and hold its own checksum.
        head: Its head.
        epochs: One row per epoch: epoch, train_loss, val_loss, val_loss_calibrated,
            train_accuracy, val_accuracy, lr. Losses and accuracies give classes equal weight.
            Epoch 0 is the start, on original pictures; later training figures are on augmented
            pictures, at the weights they were trained with.
        best_epoch: The epoch with the lowest calibrated loss on the validation part; 0 if none
            beat the start.
    """

    backbone: LoadedBackbone
    head: Head
    epochs: list[dict[str, Any]]
    best_epoch: int


def finetune(
    backbone: LoadedBackbone,
    head: Head,
    features: Features,
    data: LabelledPixels,
    *,
    config: FinetuneConfig,
    checkpoint: Path,
    resume: bool = False,
    subset: NDArray[np.int64] | None = None,
    progress: Progress = SILENT,
) -> Finetuned:
    """Fine-tune a backbone and its head.

    Args:
        backbone: The pretrained network; it is copied, not changed.
        head: Fitted on its features.
        features: (n, F) of the backbone as given.
        data: Pictures; no group is in both the training and the validation part.
        config: Hyper-parameters.
        checkpoint: Folder of the checkpoint and the event files.
        resume: Continue from the checkpoint, if there is one; otherwise it is overwritten, unless
            torchrun has started the processes again and it is of this run.
        subset: Indices of the pictures to use; all by default.
        progress: Logs a line per epoch; advanced per batch.

    Raises:
        CheckpointMismatch: Resuming, and the checkpoint is of another run or unreadable.
        TooFewPictures: As `grouped_folds`.
        BadFinetuneConfig: The network has fewer stages.
        Diverged: The loss is NaN or infinite.
        OutputError: The checkpoint folder cannot be written.
    """
    indices = np.arange(len(data.classes)) if subset is None else subset
    classes, groups = data.classes[indices], data.groups[indices]
    settings = asdict(config) | {
        "classes": data.num_classes,
        "penalty": head.penalty,
        "backbone": [backbone.spec.name, backbone.facts.weights_sha256],
    }
    key = fingerprint(settings, data.pixels, indices, classes, groups)
    saved = load(checkpoint, key, strict=resume) if resume or team.is_restart() else None
    if resume and saved is None:
        progress.log(f"{checkpoint} has no checkpoint to resume from: starting at the beginning.")
    train, validation = (indices[part] for part in _split(classes, groups, config))
    device = choose_device()
    with repeatable(device):
        team.send(Begin(backbone, data, train, validation, config))
        run = Run(backbone, data, train, validation, config, device)
        if saved is None:
            state = run.begin(key, head.penalty, features)
            team.send(state)
            save(checkpoint, state)
            progress.log(
                f"Fine-tuning starts at {state.history[0]['val_accuracy']:.1%} accuracy on a "
                f"validation part of {len(validation)} pictures; it learns from {len(train)}."
            )
        else:
            state = saved
            team.send(state)
            run.restore(state)
            progress.log(
                f"This run is complete: its result is in {checkpoint}."
                if state.finished
                else f"Resuming after epoch {state.epoch} of {config.epochs}."
            )
        state = _train(run, state, config, checkpoint, len(train), progress)
        if state.best_epoch == 0:
            progress.log(
                "No epoch beat the head alone on the validation part: the backbone stays as it was."
            )
            return Finetuned(backbone, head, state.history, 0)
        tuned, tuned_head = run.result(state, head.penalty)
    return Finetuned(
        _with_network(backbone, tuned, config), tuned_head, state.history, state.best_epoch
    )


def predict_logits(
    tuned: Finetuned, data: LabelledPixels, indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the logits (m, K) of m original pictures."""
    device = choose_device()
    with repeatable(device):
        model = TrainableClassifier(tuned.backbone, tuned.head)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.predict(data.pixels, indices)


def _split(
    classes: Classes, groups: NDArray[np.int64], config: FinetuneConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training and of the validation part; no group is in both."""
    folds = max(2, round(1 / config.validation_share))
    return grouped_folds(classes, groups, folds=folds, seed=config.seed)[0]


def _train(
    run: Run,
    state: RunState,
    config: FinetuneConfig,
    checkpoint: Path,
    num_train: int,
    progress: Progress,
) -> RunState:
    """Run epochs until the run is finished; save and log each."""
    total = config.epochs * num_train
    progress.advance(state.epoch * num_train, total)
    events = EventWriter(checkpoint, state.history)
    try:
        while not state.finished:
            team.send(Epoch())
            state = run.epoch(state, lambda done: progress.advance(done, total))
            save(checkpoint, state)
            events.add(state.history[-1])
            progress.log(_line(state, config))
    finally:
        events.close()
    return state


def _line(state: RunState, config: FinetuneConfig) -> str:
    row = state.history[-1]
    stop = f"; stopped, epoch {state.best_epoch} was best" if state.finished else ""
    return (
        f"Epoch {row['epoch']} of {config.epochs}: loss {row['train_loss']:.3f}, "
        f"on the validation part {row['val_loss']:.3f}; accuracy {row['train_accuracy']:.1%}, "
        f"on the validation part {row['val_accuracy']:.1%}{stop}."
    )


def _with_network(
    backbone: LoadedBackbone, network: nn.Module, config: FinetuneConfig
) -> LoadedBackbone:
    """Return the backbone with a tuned network, and facts that name the fine-tuning."""
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
