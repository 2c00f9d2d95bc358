"""A bundle with a model of six numbers."""

import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from models.bundle.load import answer, load_graph
from models.bundle.manifest import BackboneFacts, DatasetFacts, DecisionFacts, Golden, GoldenPicture
from models.imaging.decode import DECODER, decode_image
from tests.images import encode, photograph

TINY_PX = 16


class TinyGraph(nn.Module):
    """Graph with the signature of a bundle's, on 4 x 4 averages of the image."""

    def __init__(self, classes: int = 2, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn((classes, 3, 1, 1), generator=random))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        scaled = nn.functional.avg_pool2d(pixels.to(torch.float32) / 128.0 - 1.0, 4)
        activation = nn.functional.conv2d(scaled, self.weight)  # type: ignore[arg-type]
        return activation.mean((2, 3)).softmax(1), activation


def torchscript(module: nn.Module, *, size: int = TINY_PX) -> bytes:
    """Return a module as the bytes of a TorchScript file."""
    data = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        example = torch.zeros((2, 3, size, size), dtype=torch.uint8)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example, check_trace=False
        )
        torch.jit.save(traced, data)
    return data.getvalue()


def bundle_facts(model: bytes, labels: tuple[str, ...] = ("cat", "dog")) -> dict[str, Any]:
    """Return the manifest's fields for a tiny graph, golden answers included."""
    pictures = [encode(photograph(20, 20, seed)) for seed in (1, 2)]
    pixels = torch.stack([decode_image(data, size=TINY_PX) for data in pictures])
    probabilities, activation, _ = answer(load_graph(model), pixels)
    return {
        "labels": list(labels),
        "input_px": TINY_PX,
        "decoder": DECODER,
        "backbone": BackboneFacts(
            name="tiny", source="drawn", licence="MIT", weights_sha256="0" * 64, feature_width=3
        ),
        "dataset": DatasetFacts(
            fingerprint="1" * 64, pictures=dict.fromkeys(labels, 10), groups=20, skipped=0
        ),
        "config": {"seed": 0},
        "metrics": {"cross_validation": {"balanced_accuracy": 0.5}},
        "packages": {"torch": torch.__version__},
        "decision": DecisionFacts(threshold=0.6, target_error=0.01, coverage=0.9),
        "golden": Golden(
            tolerance=1e-3,
            pictures=[
                GoldenPicture.model_construct(
                    picture=data, probabilities=chances.tolist(), activation_means=means.tolist()
                )
                for data, chances, means in zip(
                    pictures, probabilities, activation.mean((2, 3)), strict=True
                )
            ],
        ),
    }
