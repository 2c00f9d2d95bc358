"""The audit by itself: a folder in, findings out; `python -m training audit`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.audit.copies import near_copies, together
from training.audit.findings import Finding
from training.audit.label_issues import Suspect, find_suspects
from training.audit.run import audit
from training.backbones.registry import BACKBONES, load_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.source import open_source
from training.errors import NoWeights, TooFewPictures, UnknownBackbone
from training.features.extract import Extractor, FactsOnly, extract
from training.features.feature_set import Pictures


def audit_folder(
    data: Path,
    config: FitConfig,
    *,
    cache: Path,
    model: bool = True,
    weights: Path | None = None,
    groups: Path | None = None,
    group_pattern: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Finding]:
    """Audit a folder-per-class data set without training on it.

    Args:
        data: Folder or zip file.
        config: Backbone, folds, seed and the fewest pictures a class.
        cache: Folder of the feature cache; a later run of the job reads what this one computed.
        model: Look for wrong labels with the backbone; without, no network is loaded.
        weights: Local weights for the backbone.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        say: Takes each line for the person who waits.
        progress: Takes (pictures just done, pictures in all).

    Raises:
        NoSuchData, TooFewClasses, BadTable: As `training.data.dataset.scan`.
        UnknownBackbone, BadWeights: As `training.backbones.registry.load_backbone`.
        OutputError: The cache cannot be written.
    """
    listing = scan(open_source(data), groups=groups, pattern=group_pattern)
    extractor = _extractor(config, model=model, weights=weights, say=say)
    with Cache(cache) as opened:
        extracted = extract(
            listing.source,
            listing.names,
            extractor,
            opened,
            progress=lambda done: progress(done, len(listing.names)),
        )
    names = [listing.names[place] for place in extracted.kept]
    classes = np.array(listing.classes, dtype=np.int64)[extracted.kept]
    copies = near_copies(extracted.facts)
    pictures = Pictures(
        listing, names, classes, together(names, listing.groups, copies), extracted, copies
    )
    suspects: list[Suspect] = []
    counts = np.bincount(classes, minlength=len(listing.labels))
    if extractor.width and counts.min() >= config.min_pictures:
        try:
            suspects = find_suspects(
                extracted.features,
                classes,
                pictures.groups,
                count=len(listing.labels),
                folds=config.folds,
                seed=config.seed,
            )
        except TooFewPictures as error:
            say(f"Labels were not checked with a model: {error}")
    return audit(pictures, suspects=suspects, fewest=config.min_pictures, seed=config.seed)


def _extractor(
    config: FitConfig, *, model: bool, weights: Path | None, say: Callable[[str], None]
) -> Extractor | FactsOnly:
    """The backbone; without one, what measures facts at the same size."""
    if config.backbone not in BACKBONES:
        raise UnknownBackbone(f"No backbone {config.backbone!r}: there are {', '.join(BACKBONES)}.")
    if model:
        try:
            return Extractor(load_backbone(config.backbone, weights=weights))
        except NoWeights as error:
            say(f"Labels are not checked with a model: {error}")
    return FactsOnly(BACKBONES[config.backbone].input_px)
