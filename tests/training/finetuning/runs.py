"""Small data sets and runs for the tests of fine-tuning."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.training.tiny_backbone import tiny_backbone
from training.backbones.registry import LoadedBackbone
from training.backbones.weights import State
from training.data.progress import Progress
from training.evaluation.head import fit_head
from training.features.extract import Extractor
from training.finetuning.config import FinetuneConfig
from training.finetuning.loop import Finetuned, finetune
from training.finetuning.pixels import LabelledPixels

QUICK = FinetuneConfig(
    epochs=4, batch=8, backbone_rate=3e-3, head_rate=1e-2, patience=4, folds=2, draws=200
)


def network_of_two_stages() -> nn.Sequential:
    """Float (N, 3, 32, 32) -> (N, 6, 4, 4), with batch normalisation in both stages."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, 2, padding=1), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 6, 4, 4), nn.BatchNorm2d(6), nn.ReLU(),
    )  # fmt: skip
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            layer.running_mean += 0.1
    network.eval().requires_grad_(False)
    return network


def backbone_of(network: nn.Module) -> LoadedBackbone:
    tiny = tiny_backbone()
    # Functions that have a name can be sent to other processes.
    spec = dataclasses.replace(tiny.spec, build=network_of_two_stages, fetch=_published)
    return dataclasses.replace(tiny, spec=spec, network=network)


def _published() -> tuple[str, State]:
    return "0" * 64, network_of_two_stages().state_dict()


def features_of(data: LabelledPixels) -> NDArray[np.float32]:
    return Extractor(backbone_of(network_of_two_stages()))(data.pixels).numpy()


def drawn(num_classes: int, each: int = 24) -> LabelledPixels:
    """Draw pictures whose class is the direction of their stripes, in groups of two."""
    random = np.random.default_rng(num_classes)
    classes = np.repeat(np.arange(num_classes), each)
    y, x = np.mgrid[:32, :32]
    pictures = []
    for k in classes:
        along = (x, y, x + y)[k % 3]
        wave = np.sin(along * 0.9 + random.uniform(0, 6))[None] * 50
        pictures.append(
            wave + random.uniform(80, 170, (3, 1, 1)) + random.normal(0, 25, (3, 32, 32))
        )
    pixels = np.clip(np.stack(pictures), 0, 255).astype(np.uint8)
    return LabelledPixels(torch.from_numpy(pixels), classes, np.arange(len(classes)) // 2)


def run(
    data: LabelledPixels, folder: Path, config: FinetuneConfig = QUICK, **options: Any
) -> Finetuned:
    backbone = options.pop("backbone", None) or backbone_of(network_of_two_stages())
    features = Extractor(backbone)(data.pixels).numpy()
    head = fit_head(features, data.classes, penalty=0.1)
    return finetune(backbone, head, features, data, config=config, checkpoint=folder, **options)


def content(tuned: Finetuned) -> bytes:
    """Return all bytes that depend on a run."""
    parts = [value.numpy().tobytes() for value in tuned.backbone.network.state_dict().values()]
    parts += [tuned.head.weight.tobytes(), tuned.head.bias.tobytes(), repr(tuned.epochs).encode()]
    return b"".join(parts)


class Killed(BaseException):
    """Stand-in for a signal, which no code catches."""


def killer(after: int) -> Progress:
    """Return a progress that raises after some calls; there are 1 + 5 per epoch here."""
    calls = 0

    def advance(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed

    return Progress(advance=advance)
