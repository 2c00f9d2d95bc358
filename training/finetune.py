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

import copy
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.machine import usable_cores
from training.augment import Augment, Augmentation, augmenter
from training.backbones import LoadedBackbone
from training.errors import TrainingError
from training.evaluate import grouped_folds
from training.finetune_checkpoint import Progress, fingerprint, load, save
from training.finetune_device import choose_device, repeatable
from training.finetune_events import Events
from training.finetune_stages import Unfreeze, unfrozen
from training.head import Classes, Features, Head, fit_head, log_loss

_JUDGED_AT_ONCE: Final = 32  # pictures a forward pass without gradients


@dataclass(frozen=True)
class FinetuneConfig:
    """Hyper-parameters of fine-tuning; recorded in the manifest.

    Attributes:
        unfreeze: "last" stage, "all", or how many of the last stages. Each stage more multiplies
            what a few hundred pictures have to determine.
        epochs: Most passes over the pictures; the cosine ends there.
        batch: Pictures an optimiser step.
        backbone_rate: Peak learning rate of the backbone, per step of AdamW.
        head_rate: Peak learning rate of the head, for features scaled to unit variance.
        warmup_share: Share of the steps over which the rates rise from nothing: AdamW's first
            steps, on few gradients, are its wildest.
        weight_decay: Of AdamW, per unit of learning rate; none on biases and normalisation.
        label_smoothing: Share of a label that is spread over all classes (Szegedy et al. 2016):
            without, the loss keeps growing the logits of pictures that are long learnt.
        gradient_norm: Gradients longer than this are cut to it: one odd batch is no disaster.
        patience: Epochs without a lower validation loss before the run stops.
        validation_share: Share of pictures held out, whole groups, to judge each epoch.
        folds: Folds of the comparison with the head alone; each costs one run.
        draws: Bootstrap draws behind its interval.
        seed: Of the held-out part, the order of pictures, and their changes.
        augmentation: How training pictures are changed.
    """

    unfreeze: Unfreeze = "last"
    epochs: int = 12
    batch: int = 16
    backbone_rate: float = 1e-4
    head_rate: float = 1e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    gradient_norm: float = 1.0
    patience: int = 4
    validation_share: float = 0.15
    folds: int = 3
    draws: int = 4000
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest and the checkpoint's key."""
        return asdict(self) | {"augmentation": self.augmentation.as_dict()}


class Diverged(TrainingError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Finetuned:
    """The outcome of a run.

    Attributes:
        backbone: The network at its best epoch, frozen and in `eval()`; its facts say that it
            was tuned, and carry its own checksum.
        head: The head that belongs to it.
        epochs: One row an epoch: epoch, train_loss, val_loss, train_accuracy, val_accuracy, lr.
            Losses and accuracies weigh each class the same. Epoch 0 is the start, on plain
            pictures; later training figures are on changed pictures, as they were met.
        best_epoch: The epoch with the least validation loss; 0 if none was better than the
            start.
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
        BadUnfreeze: The network has not so many stages.
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
    learn, judge = _split(classes[places], groups[places], config)
    learn, judge = places[learn], places[judge]
    device = choose_device()
    with repeatable(device):
        run = _Run(backbone, pixels, classes, learn, judge, count, config, device)
        if done is None:
            now = run.begin(key, head.penalty, features)
            save(checkpoint, now)
        else:
            now = done
            run.restore(now)
            say(f"Going on after epoch {now.epoch} of {config.epochs}.")
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
        joint = _Joint(tuned.backbone, tuned.head, 1.0)
        joint.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return _judge(joint, pixels, places, device)


class _Joint(nn.Module):
    """uint8 (N, 3, S, S) -> logits (N, K), with everything in between.

    A copy of the network: the one that is given keeps its weights and its device.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: LoadedBackbone, head: Head, scale: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(backbone.network).eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(backbone.spec.mean_rgb).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.spec.std_rgb).view(1, 3, 1, 1))
        self.scale = scale
        self.weight = nn.Parameter(torch.from_numpy(head.weight * np.float32(scale)))  # (K, D)
        self.bias = nn.Parameter(torch.from_numpy(head.bias.copy()))
        self.eval()

    def features(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) -> (N, D)."""
        scaled = (pixels.to(torch.float32) - self.mean) / self.std
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        pooled: Tensor = self.network(scaled).mean((2, 3))
        return pooled

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.linear(self.features(pixels) / self.scale, self.weight, self.bias)


class _Run:
    """The moving parts of one run; its state between epochs is a `Progress`."""

    def __init__(
        self,
        backbone: LoadedBackbone,
        pixels: Tensor,
        classes: Classes,
        learn: NDArray[np.int64],
        judge: NDArray[np.int64],
        count: int,
        config: FinetuneConfig,
        device: torch.device,
    ) -> None:
        self._pixels, self._classes = pixels, classes
        self._learn, self._judge = learn, judge
        self._count, self._config, self._device = count, config, device
        width = backbone.spec.feature_width
        blank = Head(np.zeros((count, width), np.float32), np.zeros(count, np.float32), 1.0)
        self._model = _Joint(backbone, blank, 1.0)
        chosen = unfrozen(self._model.network, config.unfreeze, input_px=backbone.spec.input_px)
        for parameter in chosen:
            parameter.requires_grad_(True)
        self._model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(self._parameter_groups(chosen))
        self._scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self._augment = augmenter(config.augmentation)
        sizes = np.bincount(classes[learn], minlength=count)
        # Each class weighs the same, and the mean weight is 1.
        self._weights = torch.tensor(len(learn) / (count * np.maximum(sizes, 1)))
        self._steps = config.epochs * -(-len(learn) // config.batch)

    def begin(self, key: str, penalty: float, features: Features | None) -> Progress:
        """Fit the head that the run starts from, on the training part only, and judge it."""
        learn, judge = self._learn, self._judge
        known = self._features(learn) if features is None else features[learn]
        held_out = self._features(judge) if features is None else features[judge]
        head = fit_head(known, self._classes[learn], count=self._count, penalty=penalty)
        scale = float(known.std()) or 1.0
        with torch.no_grad():
            self._model.weight.copy_(torch.from_numpy(head.weight * np.float32(scale)))
            self._model.bias.copy_(torch.from_numpy(head.bias))
        self._model.scale = scale
        row = self._row(0, head.logits(known), learn, head.logits(held_out), lr=0.0)
        weights = self._weights_now()
        return Progress(
            key=key,
            epoch=0,
            step=0,
            scale=scale,
            weights=weights,
            best=weights,
            best_epoch=0,
            best_loss=row["val_loss"],
            optimiser=self._optimiser.state_dict(),
            scaler=self._scaler.state_dict(),
            history=[row],
            finished=False,
        )

    def restore(self, now: Progress) -> None:
        """Put weights and optimiser back to where an epoch left them."""
        self._model.scale = now.scale
        self._put(now.weights)
        self._optimiser.load_state_dict(copy.deepcopy(now.optimiser))
        self._scaler.load_state_dict(now.scaler)

    def epoch(self, before: Progress, progress: Callable[[int], object]) -> Progress:
        """One pass over the training part, then a look at the validation part."""
        epoch, step = before.epoch + 1, before.step
        seed = _seed(self._config.seed, epoch)
        random = torch.Generator().manual_seed(seed)
        order = self._learn[torch.randperm(len(self._learn), generator=random).numpy()]
        logits = np.zeros((len(order), self._count))
        done, rate = 0, 0.0
        for chosen, batch in self._batches(order, epoch):
            rate = self._set_rates(step)
            logits[done : done + len(chosen)] = self._learn_from(batch, chosen)
            if not np.isfinite(logits[done : done + len(chosen)]).all():
                raise Diverged(
                    f"The loss is no number any more in epoch {epoch}: "
                    "the learning rates are too high for these pictures."
                )
            step, done = step + 1, done + len(chosen)
            progress(len(chosen))
        judged = _judge(self._model, self._pixels, self._judge, self._device)
        row = self._row(epoch, logits, order, judged, lr=rate)
        weights = self._weights_now()
        better = row["val_loss"] < before.best_loss
        best_epoch = epoch if better else before.best_epoch
        return replace(
            before,
            epoch=epoch,
            step=step,
            weights=weights,
            best=weights if better else before.best,
            best_epoch=best_epoch,
            best_loss=row["val_loss"] if better else before.best_loss,
            optimiser=self._optimiser.state_dict(),
            scaler=self._scaler.state_dict(),
            history=[*before.history, row],
            finished=epoch == self._config.epochs or epoch - best_epoch >= self._config.patience,
        )

    def result(self, now: Progress, penalty: float) -> tuple[nn.Module, Head]:
        """The network and head of the best epoch, frozen, on the CPU."""
        self._model.scale = now.scale
        self._put(now.best)
        model = self._model.cpu().requires_grad_(False)
        weight = model.weight.numpy() / np.float32(now.scale)
        return model.network.eval(), Head(weight, model.bias.numpy().copy(), penalty)

    def _parameter_groups(self, backbone: list[nn.Parameter]) -> list[dict[str, Any]]:
        config, model = self._config, self._model
        matrices = [item for item in backbone if item.ndim > 1]
        vectors = [item for item in backbone if item.ndim <= 1]  # biases and normalisation
        return [
            {"params": items, "lr": rate, "peak": rate, "weight_decay": decay}
            for items, rate, decay in (
                (matrices, config.backbone_rate, config.weight_decay),
                (vectors, config.backbone_rate, 0.0),
                ([model.weight], config.head_rate, config.weight_decay),
                ([model.bias], config.head_rate, 0.0),
            )
            if items
        ]

    def _set_rates(self, step: int) -> float:
        """Rise in a line, fall as a cosine; gives the backbone's rate."""
        warm = max(1, round(self._config.warmup_share * self._steps))
        if step < warm:
            factor = (step + 1) / warm
        else:
            factor = (1 + math.cos(math.pi * (step - warm) / max(1, self._steps - warm))) / 2
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        return self._config.backbone_rate * factor

    def _learn_from(self, batch: Tensor, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """One optimiser step; gives the logits (b, K) from before it."""
        config, device = self._config, self._device
        wanted = torch.from_numpy(self._classes[chosen])
        weights = self._weights[wanted].to(device, torch.float32)
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            logits = self._model(batch.to(device))
        losses = functional.cross_entropy(
            logits.float(),
            wanted.to(device),
            reduction="none",
            label_smoothing=config.label_smoothing,
        )
        # A last batch of fewer pictures pulls less: each picture counts the same.
        loss = (losses * weights).sum() / config.batch
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        parameters = [item for group in self._optimiser.param_groups for item in group["params"]]
        nn.utils.clip_grad_norm_(parameters, config.gradient_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return logits.detach().double().cpu().numpy()

    def _batches(
        self, order: NDArray[np.int64], epoch: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Changed pictures, batch by batch; the next one is made while this one is learnt."""
        size = self._config.batch
        parts = [order[at : at + size] for at in range(0, len(order), size)]
        flying: deque[list[Future[Tensor]]] = deque()
        lane = ThreadPoolExecutor(
            usable_cores(), "augment", initializer=lambda: torch.set_num_threads(1)
        )
        try:
            for index, part in enumerate(parts):
                while len(flying) < 2 and index + len(flying) < len(parts):
                    ahead = parts[index + len(flying)]
                    flying.append([lane.submit(self._changed, int(at), epoch) for at in ahead])
                yield part, torch.stack([future.result() for future in flying.popleft()])
        finally:  # also when the caller is interrupted
            lane.shutdown(wait=True, cancel_futures=True)

    def _changed(self, place: int, epoch: int) -> Tensor:
        random = torch.Generator().manual_seed(_seed(self._config.seed, epoch, place))
        return _apply(self._augment, self._pixels[place], random)

    def _features(self, places: NDArray[np.int64]) -> Features:
        parts = []
        with torch.inference_mode():
            for at in range(0, len(places), _JUDGED_AT_ONCE):
                some = torch.from_numpy(places[at : at + _JUDGED_AT_ONCE])
                parts.append(self._model.features(self._pixels[some].to(self._device)).cpu())
        return torch.cat(parts).numpy()

    def _row(
        self,
        epoch: int,
        learnt: NDArray[np.float64],
        order: NDArray[np.int64],
        judged: NDArray[np.float64],
        *,
        lr: float,
    ) -> dict[str, Any]:
        """One epoch's figures; numbers only, for the checkpoint loads nothing else."""
        seen, unseen = self._classes[order], self._classes[self._judge]
        return {
            "epoch": epoch,
            "train_loss": log_loss(learnt, seen),
            "val_loss": log_loss(judged, unseen),
            "train_accuracy": balanced_accuracy(learnt, seen),
            "val_accuracy": balanced_accuracy(judged, unseen),
            "lr": lr,
        }

    def _weights_now(self) -> dict[str, Tensor]:
        named = self._model.named_parameters()
        return {name: item.detach().cpu().clone() for name, item in named if item.requires_grad}

    def _put(self, weights: dict[str, Tensor]) -> None:
        named = dict(self._model.named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                named[name].copy_(value)


def balanced_accuracy(logits: NDArray[np.float64], classes: Classes) -> float:
    """Share of right answers, each class weighing the same."""
    right = logits.argmax(axis=1) == classes
    return float(np.mean([right[classes == k].mean() for k in np.unique(classes)]))


def _apply(augment: Augment, picture: Tensor, random: torch.Generator) -> Tensor:
    """Change one picture; gradients are no business of this thread."""
    with torch.no_grad():
        return augment(picture, random)


def _split(
    classes: Classes, groups: NDArray[np.int64], config: FinetuneConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places to learn from and to judge each epoch on; no group is in both."""
    folds = max(2, round(1 / config.validation_share))
    return grouped_folds(classes, groups, folds=folds, seed=config.seed)[0]


def _judge(
    model: _Joint, pixels: Tensor, places: NDArray[np.int64], device: torch.device
) -> NDArray[np.float64]:
    """Logits (m, K) of plain pictures, in float32 whatever the training precision."""
    parts = []
    with torch.inference_mode():
        for at in range(0, len(places), _JUDGED_AT_ONCE):
            some = torch.from_numpy(places[at : at + _JUDGED_AT_ONCE])
            parts.append(model(pixels[some].to(device)).double().cpu())
    return torch.cat(parts).numpy()


def _seed(*parts: int) -> int:
    """A seed for each epoch or picture; hashed, for neighbouring seeds give similar streams."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


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
