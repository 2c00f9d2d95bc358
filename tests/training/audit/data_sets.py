"""Statistics and feature sets of data sets with and without faults."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.images import encode, photograph
from training.audit.findings import Finding
from training.data.dataset import Listing
from training.data.image_stats import ImageStats, decode_and_measure
from training.data.source import FolderSource, SkippedFile
from training.features.extract import Extracted
from training.features.feature_set import FeatureSet

SIZE = 64


def drawn(seed: int, edge: int = 96) -> Image.Image:
    """Return a picture with coarse forms and fine grain, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    forms = photograph(edge, edge, seed)
    grain = random.integers(-24, 25, (edge, edge, 1))
    return Image.fromarray(np.clip(np.asarray(forms) + grain, 0, 255).astype(np.uint8))


def measure(*pictures: Image.Image | bytes, size: int = SIZE) -> list[ImageStats]:
    files = [item if isinstance(item, bytes) else encode(item) for item in pictures]
    return [decode_and_measure(data, size=size)[1] for data in files]


PLAIN = measure(drawn(0))[0]


def make_stats(number: int, **changes: Any) -> ImageStats:
    """Return statistics of a faultless picture, with a hash far from every other number's."""
    random = np.random.default_rng(number)
    hashes = {name: random.bytes(32).hex() for name in ("dhash", "dhash_mirrored")}
    return dataclasses.replace(
        PLAIN,
        **{
            "sha256": f"{number:064x}",
            "width_px": 300,
            "height_px": 300,
            "file_bytes": int(random.integers(10_000, 20_000)),
            "brightness": random.uniform(0.3, 0.7),
            "sharpness": 0.01,
            **hashes,
            **changes,
        },
    )


def make_feature_set(
    stats: Sequence[ImageStats],
    classes: Sequence[int],
    *,
    labels: tuple[str, ...] = ("cat", "dog"),
    skipped: tuple[SkippedFile, ...] = (),
    unreadable: Sequence[SkippedFile] = (),
) -> FeatureSet:
    names = tuple(f"{labels[k]}/{index}.jpg" for index, k in enumerate(classes))
    listing = Listing(FolderSource(Path()), labels, names, tuple(classes), {}, skipped, {})
    every = np.arange(len(stats))
    features = np.zeros((len(stats), 0), np.float32)
    return FeatureSet.of(listing, Extracted(every, features, list(stats), list(unreadable), 0))


def sound(count: int = 120, classes: int = 2) -> tuple[list[ImageStats], list[int]]:
    """Return statistics and classes of a data set without findings."""
    return [make_stats(number) for number in range(count)], [n % classes for n in range(count)]


def kinds(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.kind: finding.level for finding in findings}


def only(findings: Sequence[Finding], kind: str) -> Finding:
    (found,) = [finding for finding in findings if finding.kind == kind]
    return found
