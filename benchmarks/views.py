"""Gain of each kind of augmented copy: each alone, all that are used, and drawn occluders.

    python -m benchmarks.views TRAIN --test DIR --test LABEL=DIR

Takes 4 minutes. The backbone is quantised and the penalty chosen on the original images as in the
job; every row is a head fitted on the original images and on a number of copies of each.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.imaging.decode import decode_image
from training.backbones.registry import load_backbone
from training.config import DEFAULT_BACKBONE, EXTRACTION_BATCH, FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.holdout import find_holdout_set
from training.data.parallel import map_chunks_parallel
from training.data.source import open_source
from training.evaluation.cross_validation import best_penalty
from training.evaluation.head import Features, fit_with_copies, softmax
from training.features.augment import Augmentation, make_augment
from training.features.augmented import COPY_AUGMENTATION, augmented_copy
from training.features.extract import Extractor
from training.features.feature_set import FeatureSet, read_feature_set
from training.quantization import int8
from training.sample.drawing import Frame, soften
from training.sample.occluders import draw_before_mask
from training.sample.scene import Scene

Change = Callable[[Tensor, str, int], Tensor]

_NOTHING: Final = dataclasses.replace(
    Augmentation(), mirror=0, crop_area=(1, 1), crop_aspect=1, light=0, colour=0, grey=0,
    coarse=0, blur=0, erase=0,
)  # fmt: skip

KINDS: Final[dict[str, Augmentation]] = {
    "mirrored": dataclasses.replace(_NOTHING, mirror=0.5),
    "cropped": dataclasses.replace(
        _NOTHING, crop_area=COPY_AUGMENTATION.crop_area, crop_aspect=4 / 3
    ),
    "turned": dataclasses.replace(_NOTHING, turn=1.0),
    "coarse": dataclasses.replace(_NOTHING, coarse=1.0, coarsest=COPY_AUGMENTATION.coarsest),
    "another light": dataclasses.replace(_NOTHING, relight=1.0),
    "grey": dataclasses.replace(_NOTHING, grey=1.0),
    "blurred": dataclasses.replace(_NOTHING, blur=1.0),
    "a rectangle painted over": dataclasses.replace(_NOTHING, erase=1.0, erase_area=(0.03, 0.2)),
    "all that are used": COPY_AUGMENTATION,
    "those, and the small changes of light and colour": dataclasses.replace(
        COPY_AUGMENTATION, light=0.3, colour=0.3, grey=0.1
    ),
    "those, and rectangles": dataclasses.replace(COPY_AUGMENTATION, erase=0.2),
}


def drawn_over(share: float, augment: Change) -> Change:
    """Return a change that draws a hand, a telephone or a book over a share of the pictures."""

    def change(pixels: Tensor, digest: str, number: int) -> Tensor:
        random = np.random.default_rng([int(digest[:8], 16), number])
        if random.random() < share:
            pixels = _draw_over(random, pixels)
        return augment(pixels, digest, number)

    return change


def _draw_over(random: np.random.Generator, pixels: Tensor) -> Tensor:
    """Draw an object as the drawn sample does, where the face of a face crop roughly is."""
    canvas = pixels.permute(1, 2, 0).numpy().astype(np.float32) / np.float32(255)
    half_px = 224 * random.uniform(0.17, 0.34)
    middle = (np.array((112, 100)) + random.normal(0, 10, 2)).astype(np.float32)
    right, down = np.array((half_px, 0), np.float32), np.array((0, 1.35 * half_px), np.float32)
    frame = Frame(middle, right, down, lean=float(random.uniform(-0.3, 0.3)))
    skin = np.median(canvas[80:120, 90:134].reshape(-1, 3), axis=0).astype(np.float32)
    light = soften(canvas.mean(axis=2), 0.22 * frame.unit_px)
    light = np.clip(light / max(float(light.mean()), 1e-3), 0.45, 1.5).astype(np.float32)
    scene = Scene(canvas.copy(), frame, light, skin, skin * np.float32(0.3))
    draw_before_mask(random, scene)
    drawn = (np.clip(scene.canvas, 0, 1) * 255).round().astype(np.uint8)
    return torch.from_numpy(drawn).permute(2, 0, 1).contiguous()


def changed(choices: Augmentation) -> Change:
    """Return the change that makes augmented copies as the job does."""
    augment = make_augment(choices)
    return lambda pixels, digest, number: augmented_copy(pixels, digest, number, augment)


def copies_of(
    pictures: FeatureSet, extractor: Extractor, change: Change, count: int
) -> NDArray[np.float32]:
    """Return the features (n, V, D) of changed copies."""

    def work(indices: Any) -> list[NDArray[np.float32]]:
        size = extractor.input_px
        batches = torch.zeros((count, EXTRACTION_BATCH, 3, size, size), dtype=torch.uint8)
        for slot, index in enumerate(indices):
            plain = decode_image(pictures.read(index), size=size)
            digest = pictures.stats[index].sha256
            for number in range(count):
                batches[number, slot] = change(plain, digest, number)
        vectors = torch.stack([extractor(batch) for batch in batches], dim=1).numpy()
        return list(vectors[: len(indices)])

    indices = range(len(pictures.names))
    return np.stack([row for chunk in map_chunks_parallel(indices, work) for row in chunk])


def features_of(given: str, labels: list[str], extractor: Extractor) -> tuple[Features, Any]:
    """Return the features and classes of a test folder."""
    label, separator, path = given.partition("=")
    known = separator and label in labels
    test = find_holdout_set(Path(path if known else given), labels, label=label if known else None)

    def work(indices: Any) -> list[NDArray[np.float32]]:
        size = extractor.input_px
        pixels = [decode_image(test.source.read(test.names[index]), size=size) for index in indices]
        return list(extractor(torch.stack(pixels)).numpy())

    rows = [row for chunk in map_chunks_parallel(range(len(test.names)), work) for row in chunk]
    return np.stack(rows), test.classes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", action="append", default=[], metavar="[LABEL=]DIR")
    parser.add_argument("--views", type=int, default=FitConfig().views)
    arguments = parser.parse_args()
    config = FitConfig()
    backbone = load_backbone(DEFAULT_BACKBONE)
    listing = scan(open_source(arguments.data))
    with tempfile.TemporaryDirectory() as folder, Cache(Path(folder)) as cache:
        pictures = read_feature_set(listing, Extractor(backbone), cache, config)
        plain = Extractor(backbone)
        pixels = torch.stack(
            [
                decode_image(pictures.read(i), size=plain.input_px)
                for i in range(0, len(pictures.names), 4)
            ]
        )
        network = int8.quantise(backbone.network, plain.scale(pixels))
        extractor = Extractor(dataclasses.replace(backbone, network=network))
        own = copies_of(pictures, extractor, lambda picture, _, __: picture, 1)[:, 0]
        labels = list(pictures.labels)
        tests = {given: features_of(given, labels, extractor) for given in arguments.test}
        penalty = best_penalty(own, pictures.classes, pictures.groups, config=config)
        changes = {name: changed(choices) for name, choices in KINDS.items()}
        used = changes["all that are used"]
        changes["those, and hands and things drawn over a tenth"] = drawn_over(0.1, used)
        changes["those, and hands and things drawn over 40 %"] = drawn_over(0.4, used)
        print(f"C = {penalty:g}; balanced accuracy and log loss.\n")
        print("| copies | " + " | ".join(Path(given).name for given in tests) + " |")
        print("|---|" + "---|" * len(tests))
        for name, change in [("none", None), *changes.items()]:
            views = (
                None if change is None else copies_of(pictures, extractor, change, arguments.views)
            )
            head = fit_with_copies(own, views, pictures.classes, penalty=penalty)
            cells = []
            for features, classes in tests.values():
                chances = softmax(head.logits(features))
                correct = chances.argmax(axis=1) == classes
                shares = [correct[classes == k].mean() for k in np.unique(classes)]
                loss = -np.log(np.maximum(chances[np.arange(len(classes)), classes], 1e-12))
                cells.append(f"{np.mean(shares):.1%}, {loss.mean():.3f}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
