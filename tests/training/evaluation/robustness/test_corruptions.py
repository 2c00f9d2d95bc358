"""The ladder of damage: deterministic, ever worse, and apart from training's views."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.imaging.decode import decode_image
from tests.images import encode, photograph
from training.evaluation.robustness import corruptions
from training.evaluation.robustness.corruptions import CORRUPTIONS, corrupt
from training.features import augment

EDGE = 96  # a multiple of all that `resolution` divides by
STEPS = 5


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    random = np.random.default_rng(0)
    picture = np.asarray(photograph(EDGE, EDGE, 3), dtype=np.float32)
    grain = picture + random.normal(0, 12, picture.shape)  # detail that blur can take away
    file = encode(Image.fromarray(grain.clip(0, 255).astype(np.uint8)))
    return decode_image(file, size=EDGE)


@pytest.fixture(scope="module")
def damaged(pixels: Tensor) -> dict[str, Tensor]:
    versions = corrupt(pixels)
    parts = versions.split([STEPS] * len(CORRUPTIONS))  # type: ignore[no-untyped-call]
    return {kind.name: part for kind, part in zip(CORRUPTIONS, parts, strict=True)}


def test_corruptions_are_eight_kinds_of_five_steps() -> None:
    assert len({kind.name for kind in CORRUPTIONS}) == len(CORRUPTIONS) == 8
    assert all(len(kind.steps) == STEPS for kind in CORRUPTIONS)


def test_corrupt_keeps_shape_dtype_and_input(pixels: Tensor, damaged: dict[str, Tensor]) -> None:
    before = pixels.clone()
    versions = corrupt(pixels)
    assert torch.equal(pixels, before)
    assert versions.dtype == torch.uint8
    assert versions.shape == (STEPS * len(CORRUPTIONS), 3, EDGE, EDGE)
    assert torch.equal(versions, torch.cat(list(damaged.values())))


def test_corrupt_depends_on_the_pixels_alone(pixels: Tensor) -> None:
    first = corrupt(pixels)
    torch.manual_seed(1)
    np.random.default_rng()
    assert torch.equal(corrupt(pixels.clone()), first)
    other = pixels.clone()
    other[0, 0, 0] += 1
    assert not torch.equal(corrupt(other)[10], first[10])  # noise: drawn anew


@pytest.mark.parametrize("name", [kind.name for kind in CORRUPTIONS])
def test_each_step_differs_more_from_the_picture(
    name: str, pixels: Tensor, damaged: dict[str, Tensor]
) -> None:
    away = (damaged[name].float() - pixels.float()).square().mean((1, 2, 3))
    assert away[0] > 0
    assert bool((away[1:] > away[:-1]).all()), away


def test_each_kind_has_its_effect(pixels: Tensor, damaged: dict[str, Tensor]) -> None:
    whole = pixels.float()
    dark = damaged["darkness"].float().mean((1, 2, 3)) / whole.mean()
    np.testing.assert_allclose(dark, [0.7, 0.5, 0.35, 0.2, 0.1], atol=0.01)
    hidden = (damaged["occlusion"] != pixels).any(dim=1).float().mean((1, 2))
    np.testing.assert_allclose(hidden, [0.05, 0.1, 0.2, 0.3, 0.4], atol=0.02)
    spread = (damaged["noise"][0].float() - whole).std() / 255
    assert 0.06 < float(spread) < 0.085  # a little less than 8 %: white and black are ends
    detail = [float(v.float().diff(dim=2).abs().mean()) for v in (pixels, *damaged["blur"])]
    assert detail == sorted(detail, reverse=True)
    middle = whole[:, 30:66, 30:66].mean((1, 2))
    cropped = damaged["crop"][4].float().mean((1, 2))  # half of the edge: the middle alone
    np.testing.assert_allclose(cropped, whole[:, 24:72, 24:72].mean((1, 2)), atol=2)
    turned = damaged["rotation"][:, :, 30:66, 30:66].float().mean((2, 3))
    np.testing.assert_allclose(turned, middle.expand(STEPS, 3), atol=12)


def test_occlusion_grows_with_the_step_and_keeps_its_colour(
    pixels: Tensor, damaged: dict[str, Tensor]
) -> None:
    colours = []
    for version in damaged["occlusion"]:
        covered = (version != pixels).any(dim=0)
        colours.append(version[:, covered].unique(dim=1))
    assert all(torch.equal(colour, colours[0]) for colour in colours)
    assert colours[0].shape == (3, 1)


def test_corruptions_and_augmentation_import_nothing_of_each_other() -> None:
    for module, other in ((corruptions, "augment"), (augment, "corruptions")):
        tree = ast.parse(Path(module.__file__ or "").read_text())
        names = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for name in [node.module or ""]
        }
        assert f"training.{other}" not in names
