"""The whole job: pictures in, a published bundle out."""

import hashlib
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import MODEL, Bundle, answer, load_graph, publish
from models.image import DECODER
from models.manifest import DatasetFacts
from training.backbones import LoadedBackbone, load_backbone
from training.cache import Cache
from training.config import FitConfig
from training.dataset import Left, Listing, scan
from training.duplicates import components, near_pairs
from training.errors import OutputError, TooFewPictures, UnreadableData
from training.evaluate import OutOfFold, best_penalty, cross_validate, summarise
from training.export import Classifier, export
from training.features import Extracted, Extractor, extract
from training.golden import choose_golden, decode_pool, draw_pool
from training.head import Head, fit_head
from training.source import open_source

# Packages whose version can change a result.
_RECORDED = ("torch", "torchvision", "pillow", "numpy", "scikit-learn", "imagehash")


@dataclass(frozen=True)
class Pictures:
    """The readable pictures of a data set, ready to learn from.

    Attributes:
        labels: Class names.
        names: (n) file names.
        classes: int64 (n,).
        groups: int64 (n,): near-duplicates, and pictures that share a named group, share one.
        extracted: Features (n, D), facts, and what could not be read.
        left: Files that are no pictures.
    """

    labels: tuple[str, ...]
    names: list[str]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    extracted: Extracted
    left: tuple[Left, ...]


def fit(
    data: Path,
    store: Path,
    config: FitConfig,
    *,
    cache: Path,
    weights: Path | None = None,
    groups: Path | None = None,
    group_pattern: str | None = None,
    strict: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Bundle:
    """Train on a folder-per-class data set and publish the result.

    Args:
        data: Folder or zip file.
        store: Where to publish.
        config: Hyper-parameters.
        cache: Folder of the feature cache.
        weights: Local weights for the backbone.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        strict: Refuse to train if any picture is unreadable.
        say: Takes each line for the person who waits.
        progress: Takes (pictures just done, pictures in all).

    Returns:
        The published bundle.

    Raises:
        TrainingError, BundleError: See `training.errors` and `models.errors`.
    """
    backbone = load_backbone(config.backbone, weights=weights)
    listing = scan(open_source(data), groups=groups, pattern=group_pattern)
    pictures = read(
        listing, backbone, config, cache=cache, strict=strict, say=say, progress=progress
    )
    features, count = pictures.extracted.features, len(pictures.labels)
    judged = cross_validate(features, pictures.classes, pictures.groups, count=count, config=config)
    metrics = summarise(
        judged.logits, pictures.classes, pictures.groups, pictures.labels, config=config
    )
    low, high = metrics["balanced_accuracy_interval_95"]
    say(
        f"Cross-validated on {metrics['pictures']} pictures in {metrics['groups']} groups: "
        f"balanced accuracy {metrics['balanced_accuracy']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%})."
    )
    penalty = best_penalty(features, pictures.classes, pictures.groups, count=count, config=config)
    head = fit_head(features, pictures.classes, count=count, penalty=penalty)
    return _publish(store, backbone, head, pictures, judged, metrics, config)


def read(
    listing: Listing,
    backbone: LoadedBackbone,
    config: FitConfig,
    *,
    cache: Path,
    strict: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Pictures:
    """Read a listing's pictures, extract features, and find what belongs together.

    Raises:
        UnreadableData: Strict, and a picture is unreadable.
        TooFewPictures: A class has too few readable pictures.
        OutputError: The cache cannot be written.
    """
    total = len(listing.names)
    with Cache(cache) as opened:
        extracted = extract(
            listing.source,
            listing.names,
            Extractor(backbone),
            opened,
            progress=lambda done: progress(done, total),
        )
    _say_left(listing.left, "left out", say)
    _say_left(extracted.unreadable, "unreadable, skipped", say)
    if strict and extracted.unreadable:
        first = extracted.unreadable[0]
        raise UnreadableData(
            f"{len(extracted.unreadable)} unreadable files, and --strict allows none; "
            f"the first is {first.name}: {first.why}"
        )
    classes = np.array(listing.classes, dtype=np.int64)[extracted.kept]
    names = [listing.names[place] for place in extracted.kept]
    _check_counts(listing, classes, config)
    counts = ", ".join(f"{(classes == k).sum()} {label}" for k, label in enumerate(listing.labels))
    say(f"{len(names)} pictures ({counts}), {extracted.cached} of them from the cache.")
    return Pictures(
        labels=listing.labels,
        names=names,
        classes=classes,
        groups=_groups(listing, names, extracted, config),
        extracted=extracted,
        left=listing.left,
    )


def _check_counts(listing: Listing, classes: NDArray[np.int64], config: FitConfig) -> None:
    listed = Counter(listing.classes)
    for k, label in enumerate(listing.labels):
        readable = int((classes == k).sum())
        if not readable:
            raise TooFewPictures(
                f"Class {label!r}: none of its {listed[k]} files is a picture that can be read."
            )
        if readable < config.min_pictures:
            raise TooFewPictures(
                f"Class {label!r} has {readable} readable pictures, and "
                f"{config.min_pictures} are needed."
            )


def _groups(
    listing: Listing, names: list[str], extracted: Extracted, config: FitConfig
) -> NDArray[np.int64]:
    links = near_pairs(
        [facts.dhash for facts in extracted.facts],
        [facts.dhash_mirrored for facts in extracted.facts],
        bits=config.duplicate_bits,
    )
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if group := listing.groups.get(name):
            links.append((first.setdefault(group, place), place))
    return components(len(names), links)


def _publish(
    store: Path,
    backbone: LoadedBackbone,
    head: Head,
    pictures: Pictures,
    judged: OutOfFold,
    metrics: dict[str, Any],
    config: FitConfig,
) -> Bundle:
    model = export(Classifier(backbone, head), input_px=backbone.spec.input_px)
    pool = draw_pool(config.seed)
    pixels = torch.stack(decode_pool(pool, size=backbone.spec.input_px))
    golden = choose_golden(
        pool,
        *answer(load_graph(model), pixels),
        count=config.golden_pictures,
        tolerance=config.golden_tolerance,
    )
    facts = {
        "labels": list(pictures.labels),
        "input_px": backbone.spec.input_px,
        "decoder": DECODER,
        "backbone": backbone.facts,
        "dataset": _dataset_facts(pictures),
        "config": config.as_dict() | {"penalty": head.penalty},
        "metrics": {"cross_validation": metrics | {"penalties": judged.penalties}},
        "packages": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _RECORDED},
        "golden": golden,
    }
    try:
        return publish(store, {MODEL: model}, facts)
    except OSError as error:
        raise OutputError(
            f"The bundle cannot be written to {store} ({error.strerror}); nothing was published."
        ) from error


def _dataset_facts(pictures: Pictures) -> DatasetFacts:
    contents = sorted(
        f"{pictures.labels[k]}\0{facts.sha256}"
        for k, facts in zip(pictures.classes, pictures.extracted.facts, strict=True)
    )
    return DatasetFacts(
        fingerprint=hashlib.sha256("\n".join(contents).encode()).hexdigest(),
        pictures={
            label: int((pictures.classes == k).sum()) for k, label in enumerate(pictures.labels)
        },
        groups=len(np.unique(pictures.groups)),
        skipped=len(pictures.extracted.unreadable),
    )


def _say_left(left: list[Left] | tuple[Left, ...], what: str, say: Callable[[str], None]) -> None:
    """Name files, a few in full and the rest by count."""
    shown = 20
    if left:
        say(f"{len(left)} files {what}:")
    for item in left[:shown]:
        say(f"  {item.name}: {item.why}")
    if len(left) > shown:
        say(f"  and {len(left) - shown} more")
