"""What the tests of `models` and `training` share: small pictures, and a model in a thimble."""

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from models.bundle.load import answer, load_graph
from models.bundle.manifest import BackboneFacts, DatasetFacts, DecisionFacts, Golden, GoldenPicture
from models.imaging.decode import DECODER, decode_image
from training.backbones.pooling import BANDS
from training.backbones.registry import Backbone, LoadedBackbone

TINY_PX = 16
TINY_WIDTH = 6
TINY_POOLED = TINY_WIDTH * BANDS


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """One encoded file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def photograph(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    """A smooth coloured picture that differs from its turned and mirrored copies."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


class TinyGraph(nn.Module):
    """The signature of a bundle's graph, on 4 x 4 averages of the picture."""

    def __init__(self, classes: int = 2, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.register_buffer("weight", torch.randn((classes, 3, 1, 1), generator=random))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        scaled = nn.functional.avg_pool2d(pixels.to(torch.float32) / 128.0 - 1.0, 4)
        activation = nn.functional.conv2d(scaled, self.weight)  # type: ignore[arg-type]
        return activation.mean((2, 3)).softmax(1), activation


def torchscript(module: nn.Module, *, size: int = TINY_PX) -> bytes:
    """A module as the bytes of a TorchScript file."""
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
    """A manifest's fields for a tiny graph, golden answers included."""
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


@pytest.fixture(scope="session")
def tiny_model() -> bytes:
    return torchscript(TinyGraph())


@pytest.fixture(scope="session")
def other_model() -> bytes:
    return torchscript(TinyGraph(seed=1))


def tiny_backbone() -> LoadedBackbone:
    """A random, frozen backbone of 6 features that takes 32 x 32 pictures."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, TINY_WIDTH, 4, 4), nn.ReLU())
    network.eval().requires_grad_(False)
    spec = Backbone(
        name="tiny",
        source="drawn",
        licence="MIT",
        input_px=32,
        mean_rgb=(127.0, 120.0, 110.0),
        std_rgb=(64.0, 60.0, 58.0),
        feature_width=TINY_WIDTH,
        downloads=False,
        build=lambda: network,
        fetch=lambda: ("0" * 64, network.state_dict()),
    )
    facts = BackboneFacts(
        name="tiny",
        source="drawn",
        licence="MIT",
        weights_sha256="0" * 64,
        feature_width=TINY_WIDTH,
    )
    return LoadedBackbone(spec, network, facts)


@pytest.fixture
def backbone() -> LoadedBackbone:
    return tiny_backbone()


def draw_class(label: str, random: np.random.Generator) -> Image.Image:
    """One picture of a class that is told by its shape, on a ground that tells nothing."""
    ground = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    picture = ground.resize((64, 64), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    x, y = (int(value) for value in random.integers(4, 24, 2))
    red, green, blue = (int(value) for value in random.integers(0, 256, 3))
    box, colour = (x, y, x + 34, y + 34), (red, green, blue)
    match label:
        case "bar":
            draw.rectangle((x, y + 12, x + 34, y + 22), fill=colour, outline="black")
        case "disc":
            draw.ellipse(box, fill=colour, outline="black")
        case _:
            draw.polygon([(x, y + 34), (x + 17, y), (x + 34, y + 34)], fill=colour, outline="white")
    return picture


DrawData = Callable[..., Path]


@pytest.fixture(scope="session")
def draw_data() -> DrawData:
    """Write a folder-per-class data set of drawn shapes."""

    def draw(folder: Path, counts: dict[str, int], *, seed: int = 0) -> Path:
        random = np.random.default_rng(seed)
        for label, count in counts.items():
            (folder / label).mkdir(parents=True)
            for index in range(count):
                path = folder / label / f"{index:03}.jpg"
                path.write_bytes(encode(draw_class(label, random), "JPEG", quality=90))
        return folder

    return draw


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or fills the user's feature cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FACEMASK_CACHE", str(folder))
        yield folder
