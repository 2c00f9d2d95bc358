"""The audit of a folder without training on it: `python -m training audit`."""

from pathlib import Path

import numpy as np

from training.audit.findings import Finding
from training.audit.label_issues import find_label_issues
from training.audit.run import audit
from training.backbones.registry import BACKBONES, load_backbone
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.progress import SILENT, Progress
from training.data.source import open_source
from training.errors import NoWeights, TooFewPictures, UnknownBackbone
from training.features.extract import Extractor, StatsOnly, extract
from training.features.feature_set import FeatureSet


def audit_folder(
    data: Path,
    config: FitConfig,
    *,
    cache: Path,
    model: bool = True,
    weights: Path | None = None,
    groups: Path | None = None,
    group_pattern: str | None = None,
    progress: Progress = SILENT,
) -> list[Finding]:
    """Audit a folder-per-class data set without training on it.

    Args:
        data: Folder or zip file.
        config: Backbone, folds, seed and min number of pictures per class.
        cache: Folder of the feature cache; a later training run reads what the audit extracted.
        model: Look for label issues with the backbone; without, no network is loaded.
        weights: Local weights for the backbone.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        progress: Logs why labels are not checked; advanced per chunk.

    Returns:
        The findings, the most severe level first.

    Raises:
        NoSuchData, BadLayout, TooFewClasses, BadTable: As `training.data.dataset.scan`.
        UnknownBackbone, BadWeights: As `training.backbones.registry.load_backbone`.
        OutputError: The cache cannot be written.
    """
    listing = scan(open_source(data), groups=groups, pattern=group_pattern)
    extractor = _load_extractor(config, model=model, weights=weights, progress=progress)
    progress.begin("features")
    with Cache(cache, progress=progress) as opened:
        extracted = extract(listing.source, listing.names, extractor, opened, progress=progress)
    progress.begin("audit")
    feature_set = FeatureSet.of(listing, extracted)
    issues = None
    counts = np.bincount(feature_set.classes, minlength=len(feature_set.labels))
    if extractor.width and counts.min() >= config.min_pictures:
        try:
            issues = find_label_issues(
                feature_set.features,
                feature_set.classes,
                feature_set.groups,
                folds=config.folds,
                seed=config.seed,
                confirmed=feature_set.confirmed,
            )
        except TooFewPictures as error:
            progress.log(f"Labels were not checked with a model: {error}")
    return audit(
        feature_set, label_issues=issues, min_pictures=config.min_pictures, seed=config.seed
    )


def _load_extractor(
    config: FitConfig, *, model: bool, weights: Path | None, progress: Progress
) -> Extractor | StatsOnly:
    """Load the backbone; without a model or weights, measure statistics at the same size."""
    if config.backbone not in BACKBONES:
        raise UnknownBackbone(f"No backbone {config.backbone!r}: there are {', '.join(BACKBONES)}.")
    if model:
        try:
            return Extractor(load_backbone(config.backbone, weights=weights))
        except NoWeights as error:
            progress.log(f"Labels are not checked with a model: {error}")
    return StatsOnly(BACKBONES[config.backbone].input_px)
