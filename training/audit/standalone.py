"""The audit of a folder without training on it: `python -m training audit`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training.audit.findings import Finding, plural
from training.audit.label_issues import find_label_issues
from training.audit.proposed_labels import ProposedLabel, proposed_labels
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

_CHECKS: Final = (
    "files that cannot be read",
    "rows of tables that name no picture",
    "copies and near-duplicates",
    "size, light, blur and shape of the pictures",
    "number of pictures per class",
    "shortcuts",
    "undeclared groups",
)
_LABEL_CHECK: Final = "labels that a model disagrees with"


@dataclass(frozen=True)
class FolderAudit:
    """What an audit looked at, and what it found.

    Attributes:
        findings: The findings, the most severe level first.
        pictures: Number of readable pictures by class.
        checks: What was looked for.
        not_checked: What was not, with the reason.
        label_issues: Suggested label by picture whose label may be wrong.
        decided: Label by picture as labels.csv gives it, None for an excluded picture.
    """

    findings: list[Finding]
    pictures: dict[str, int]
    checks: tuple[str, ...]
    not_checked: tuple[str, ...]
    label_issues: list[ProposedLabel]
    decided: Mapping[str, str | None]

    @property
    def sentences(self) -> list[str]:
        """What was looked at, in sentences."""
        counts = ", ".join(f"{count:,} {label}" for label, count in self.pictures.items())
        return [
            f"Looked at {plural(sum(self.pictures.values()))} ({counts}) for: "
            f"{'; '.join(self.checks)}.",
            *(f"Not checked: {reason}" for reason in self.not_checked),
        ]


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
) -> FolderAudit:
    """Audit a folder-per-class data set without training on it.

    Args:
        data: Folder or zip file.
        config: Backbone, folds, seed and min number of pictures per class.
        cache: Folder of the feature cache; a later training run reads what the audit extracted.
        model: Look for label issues with the backbone; without, no network is loaded.
        weights: Local weights for the backbone.
        groups: Table of groups, instead of `groups.csv` beside the data.
        group_pattern: Regular expression that finds a picture's group in its name.
        progress: Takes steps; advanced per chunk.

    Raises:
        NoSuchData, BadLayout, TooFewClasses, BadTable: As `training.data.dataset.scan`.
        UnknownBackbone, BadWeights: As `training.backbones.registry.load_backbone`.
        OutputError: The cache cannot be written.
    """
    listing = scan(open_source(data), groups=groups, pattern=group_pattern)
    extractor, obstacle = _load_extractor(config, model=model, weights=weights)
    progress.begin("features")
    with Cache(cache, progress=progress) as opened:
        extracted = extract(listing.source, listing.names, extractor, opened, progress=progress)
    progress.begin("audit")
    feature_set = FeatureSet.of(listing, extracted)
    issues = None
    counts = np.bincount(feature_set.classes, minlength=len(feature_set.labels))
    if extractor.width and counts.min() < config.min_pictures:
        obstacle = f"a class has fewer than {config.min_pictures} readable pictures."
    elif extractor.width:
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
            obstacle = str(error)
    findings = audit(
        feature_set, label_issues=issues, min_pictures=config.min_pictures, seed=config.seed
    )
    return FolderAudit(
        findings=findings,
        pictures=feature_set.pictures_per_class,
        checks=_CHECKS if issues is None else (*_CHECKS, _LABEL_CHECK),
        not_checked=() if issues is not None else (f"{_LABEL_CHECK}: {obstacle}",),
        label_issues=proposed_labels(feature_set, issues) if issues else [],
        decided=listing.decided,
    )


def _load_extractor(
    config: FitConfig, *, model: bool, weights: Path | None
) -> tuple[Extractor | StatsOnly, str]:
    """Load the backbone; return a stand-in without one, and the reason."""
    if config.backbone not in BACKBONES:
        raise UnknownBackbone(f"No backbone {config.backbone!r}: there are {', '.join(BACKBONES)}.")
    without = StatsOnly(BACKBONES[config.backbone].input_px)
    if not model:
        return without, "--no-model."
    try:
        return Extractor(load_backbone(config.backbone, weights=weights)), ""
    except NoWeights as error:
        return without, str(error)
