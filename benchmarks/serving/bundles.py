"""Served models: a bundle for the service, plain TorchScript for the peers.

Accuracy plays no part here: weights that no installed package carries are random, and so is
the head.
"""

import dataclasses
import hashlib
import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bundle.files import MODEL
from models.bundle.load import Bundle, answer, load_graph
from models.bundle.manifest import DatasetFacts, DecisionFacts, PrecisionFacts
from models.bundle.publish import publish
from models.imaging.decode import DECODER, decode_image
from training.backbones.pooling import pyramid_pool
from training.backbones.registry import BACKBONES, LoadedBackbone, load_backbone
from training.config import FitConfig
from training.errors import UnknownBackbone
from training.evaluation.head import Head
from training.features.extract import Extractor
from training.publish.export import Classifier, export
from training.publish.golden import choose_golden, decode_pool, draw_pool
from training.quantization import int8

_LABELS: Final = ("mask", "no_mask")
_WIDER: Final = 1.5


def _fp32(backbone: LoadedBackbone, head: Head, _pictures: Sequence[bytes]) -> bytes:
    return export(Classifier(backbone, head), input_px=backbone.spec.input_px)


def _int8(backbone: LoadedBackbone, head: Head, pictures: Sequence[bytes]) -> bytes:
    size = backbone.spec.input_px
    pixels = torch.stack([decode_image(data, size=size) for data in pictures])
    network = int8.quantise(backbone.network, Extractor(backbone).scale(pixels))
    quantised = dataclasses.replace(backbone, network=network)
    return export(Classifier(quantised, head), input_px=size, precision="int8")


PRECISIONS: Final[dict[str, Callable[[LoadedBackbone, Head, Sequence[bytes]], bytes]]] = {
    "fp32": _fp32,
    "int8": _int8,
}
"""Functions from backbone, head and calibration pictures to the bytes of `model.pt`."""


def make_backbone(name: str, pictures: Sequence[bytes], *, seed: int) -> LoadedBackbone:
    """Return a backbone with the weights that an installed package carries, else random ones.

    Raises:
        UnknownBackbone: There is none of that name.
    """
    if name not in BACKBONES:
        raise UnknownBackbone(f"No backbone {name!r}: there are {', '.join(BACKBONES)}.")
    spec = BACKBONES[name]
    if not spec.downloads:
        return load_backbone(name)
    torch.manual_seed(seed)
    network = spec.build().train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the plain mean over all batches seen
    # One pass gives batch normalisation its statistics; values then have the range that those
    # of a trained network have, which matters to quantisation and to denormal numbers.
    # Slightly wider ones damp the chaos of deep random networks, which would blow rounding up.
    mean, std = torch.tensor(spec.mean_rgb), torch.tensor(spec.std_rgb)
    pixels = torch.stack([decode_image(data, size=spec.input_px) for data in pictures])
    with torch.no_grad():
        network((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
                part.running_var.mul_(_WIDER)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pt"
        torch.save(network.state_dict(), weights)
        return load_backbone(name, weights=weights)


def make_head(backbone: LoadedBackbone, *, seed: int) -> Head:
    """Return a random head for two classes."""
    width = backbone.spec.pooled_width
    weight = np.random.default_rng(seed).normal(0, width**-0.5, (len(_LABELS), width))
    return Head(weight.astype(np.float32), np.zeros(len(_LABELS), np.float32), 1.0)


def publish_bundle(
    store: Path,
    backbone: LoadedBackbone,
    head: Head,
    pictures: Sequence[bytes],
    *,
    precision: str,
) -> Bundle:
    """Publish a model as the training job does, but without measured accuracy."""
    config = FitConfig()
    is_int8 = precision == "int8"
    model = PRECISIONS[precision](backbone, head, pictures)
    pool = draw_pool(config.seed)
    pixels = torch.stack(decode_pool(pool, size=backbone.spec.input_px))
    golden = choose_golden(
        pool,
        answer(load_graph(model), pixels),
        num_pictures=config.golden_pictures,
        tolerance=config.golden_tolerance_int8 if is_int8 else config.golden_tolerance,
    )
    facts: dict[str, Any] = {
        "labels": list(_LABELS),
        "input_px": backbone.spec.input_px,
        "decoder": DECODER,
        "backbone": backbone.facts,
        "precision": PrecisionFacts(name="int8", engine=int8.ENGINE)
        if is_int8
        else PrecisionFacts(),
        "dataset": DatasetFacts(
            fingerprint=hashlib.sha256().hexdigest(), pictures={}, groups=0, skipped=0
        ),
        "config": {"precision": precision},
        "metrics": {},
        "packages": {},
        "decision": DecisionFacts(threshold=0.0, target_error=1.0, coverage=1.0),
        "golden": golden,
    }
    return publish(store, {MODEL: model}, facts)


class _Plain(nn.Module):
    """float (N, 3, S, S), scaled as ImageNet's -> probabilities (N, K), as tutorials have it."""

    weight: Tensor
    bias: Tensor

    def __init__(self, backbone: LoadedBackbone, head: Head, *, channels_last: bool) -> None:
        super().__init__()
        self.network = backbone.network
        self.channels_last = channels_last
        self.register_buffer("weight", torch.from_numpy(head.weight))
        self.register_buffer("bias", torch.from_numpy(head.bias))

    def forward(self, scaled: Tensor) -> Tensor:
        if self.channels_last:
            scaled = scaled.contiguous(memory_format=torch.channels_last)
        features = pyramid_pool(self.network(scaled))
        return functional.linear(features, self.weight, self.bias).softmax(1)


def plain_model(backbone: LoadedBackbone, head: Head, *, channels_last: bool) -> bytes:
    """Return the same network in fp32 for the peers, traced and frozen as in PyTorch's guide.

    Args:
        backbone: As the service's.
        head: As the service's.
        channels_last: Lay the input out as the service's graph does, which the peers'
            documentations do not mention.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    plain = _Plain(backbone, head, channels_last=channels_last).eval()
    plain.to(memory_format=layout)  # type: ignore[call-overload]
    example = torch.zeros((2, 3, backbone.spec.input_px, backbone.spec.input_px))
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and what is compared here
        traced = torch.jit.trace(plain, example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(torch.jit.freeze(traced), buffer)
    return buffer.getvalue()
