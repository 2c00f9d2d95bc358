"""The feature set: all that training knows of a data set's readable pictures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import DatasetFacts
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import EXCLUDED_BY_TABLE, Listing
from training.data.duplicates import find_near_duplicates, group_pictures
from training.data.image_stats import ImageStats
from training.data.progress import SILENT, Progress
from training.data.source import SkippedFile
from training.errors import TooFewPictures, UnreadableData
from training.features.extract import Extracted, Extractor, StatsOnly, extract

_MAX_FILES_LOGGED: Final = 20


@dataclass(frozen=True)
class FeatureSet:
    """The n readable pictures of a data set, ready to learn from.

    Attributes:
        listing: The data set that they were read from.
        names: (n) file names.
        classes: int64 (n,) class indices.
        groups: int64 (n,) group numbers: near-duplicates, and pictures of a named group, share one.
        features: float32 (n, F).
        stats: (n) statistics.
        unreadable: Files that could not be read.
        duplicates: Pairs that connect near-duplicates, as indices among the n.
    """

    listing: Listing
    names: list[str]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    features: NDArray[np.float32]
    stats: list[ImageStats]
    unreadable: list[SkippedFile]
    duplicates: list[tuple[int, int]]

    @classmethod
    def of(cls, listing: Listing, extracted: Extracted) -> Self:
        """Combine a listing with the features of its readable pictures, and group these."""
        names = [listing.names[index] for index in extracted.kept]
        duplicates = find_near_duplicates(extracted.stats)
        return cls(
            listing=listing,
            names=names,
            classes=np.array(listing.classes, dtype=np.int64)[extracted.kept],
            groups=group_pictures(names, listing.groups, duplicates),
            features=extracted.features,
            stats=extracted.stats,
            unreadable=extracted.unreadable,
            duplicates=duplicates,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; position k is class index k."""
        return self.listing.labels

    @property
    def pictures_per_class(self) -> dict[str, int]:
        """Number of readable pictures by class name."""
        return {label: int((self.classes == k).sum()) for k, label in enumerate(self.labels)}

    @property
    def confirmed(self) -> NDArray[np.bool_]:
        """Bool (n,): labels.csv gives the label, so that a person has looked at the picture."""
        return np.array([name in self.listing.decided for name in self.names], dtype=bool)

    def read(self, index: int) -> bytes:
        """Return the encoded file of one picture, the same bytes that its features are of.

        Raises:
            ChangedData: The file has another content now, or none.
        """
        return self.listing.source.read(self.names[index])

    def dataset_facts(self) -> DatasetFacts:
        """Return the manifest's entry on the data set."""
        contents = sorted(
            f"{self.labels[k]}\0{stats.sha256}"
            for k, stats in zip(self.classes, self.stats, strict=True)
        )
        return DatasetFacts(
            fingerprint=hashlib.sha256("\n".join(contents).encode()).hexdigest(),
            pictures=self.pictures_per_class,
            groups=len(np.unique(self.groups)),
            skipped=len(self.unreadable),
            corrected=len(self.listing.corrected),
            left_out=sum(file.reason == EXCLUDED_BY_TABLE for file in self.listing.skipped),
        )


def read_feature_set(
    listing: Listing,
    extractor: Extractor | StatsOnly,
    cache: Cache,
    config: FitConfig,
    *,
    strict: bool = False,
    progress: Progress = SILENT,
) -> FeatureSet:
    """Read a listing's pictures, extract their features, and check that they are enough.

    Args:
        listing: The data set.
        extractor: The backbone, or its stand-in if only statistics are wanted.
        cache: Filled on the way.
        config: Min number of pictures per class.
        strict: Refuse unreadable pictures.
        progress: Logs skipped files and the number of pictures; advanced per chunk.

    Raises:
        UnreadableData: Strict, and a picture is unreadable.
        TooFewPictures: A class has too few readable pictures.
        OutputError: The cache cannot be written.
    """
    extracted = extract(listing.source, listing.names, extractor, cache, progress=progress)
    _log_files(listing.skipped, "left out", progress)
    _log_files(extracted.unreadable, "unreadable, skipped", progress)
    if strict and extracted.unreadable:
        first = extracted.unreadable[0]
        raise UnreadableData(
            f"{len(extracted.unreadable)} unreadable files, and --strict allows none; "
            f"the first is {first.name}: {first.reason}"
        )
    feature_set = FeatureSet.of(listing, extracted)
    _check_counts(feature_set, config.min_pictures)
    counts = ", ".join(
        f"{count} {label}" for label, count in feature_set.pictures_per_class.items()
    )
    progress.log(
        f"{len(feature_set.names)} pictures ({counts}), {extracted.num_cached} of them from the "
        "cache."
    )
    return feature_set


def _check_counts(feature_set: FeatureSet, min_pictures: int) -> None:
    """Raise if a class has too few readable pictures."""
    for k, (label, readable) in enumerate(feature_set.pictures_per_class.items()):
        if not readable:
            listed = feature_set.listing.classes.count(k)
            of_class = set(feature_set.listing.names_of(k))
            faults = [file for file in feature_set.unreadable if file.name in of_class]
            first = f", the first {faults[0].name}: {faults[0].reason}" if faults else "."
            raise TooFewPictures(
                f"Class {label!r}: none of its {listed} files is a picture that can be read{first}"
            )
        if readable < min_pictures:
            raise TooFewPictures(
                f"Class {label!r} has {readable} readable pictures, and {min_pictures} are needed."
            )


def _log_files(files: Sequence[SkippedFile], outcome: str, progress: Progress) -> None:
    """Log the number of skipped files, and the first of them with their reasons."""
    if files:
        progress.log(f"{len(files)} files {outcome}:")
    for file in files[:_MAX_FILES_LOGGED]:
        progress.log(f"  {file.name}: {file.reason}")
    if len(files) > _MAX_FILES_LOGGED:
        progress.log(f"  and {len(files) - _MAX_FILES_LOGGED} more")
