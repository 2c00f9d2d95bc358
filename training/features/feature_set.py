"""The readable pictures of a data set: classes, features, facts, and what belongs together."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import DatasetFacts
from training.audit.copies import near_copies, together
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import Left, Listing
from training.data.tables import LABELS_TABLE
from training.errors import TooFewPictures, UnreadableData
from training.features.extract import Extracted, Extractor, FactsOnly, extract

_SHOWN = 20  # files named in full on the terminal


@dataclass(frozen=True)
class Pictures:
    """The readable pictures of a data set, ready to learn from.

    Attributes:
        listing: What they were read from.
        names: (n) file names.
        classes: int64 (n,).
        groups: int64 (n,): near-duplicates, and pictures that share a named group, share one.
        extracted: Features (n, D), facts, and what could not be read.
        copies: Pairs that join near-duplicates, as places among the n.
    """

    listing: Listing
    names: list[str]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    extracted: Extracted
    copies: list[tuple[int, int]]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        return self.listing.labels

    def data(self, place: int) -> bytes:
        """The encoded file of one picture."""
        return self.listing.source.read(self.names[place])

    def facts(self) -> DatasetFacts:
        """What the manifest says of them."""
        contents = sorted(
            f"{self.labels[k]}\0{facts.sha256}"
            for k, facts in zip(self.classes, self.extracted.facts, strict=True)
        )
        return DatasetFacts(
            fingerprint=hashlib.sha256("\n".join(contents).encode()).hexdigest(),
            pictures={label: int((self.classes == k).sum()) for k, label in enumerate(self.labels)},
            groups=len(np.unique(self.groups)),
            skipped=len(self.extracted.unreadable),
            corrected=len(self.listing.corrected),
            left_out=sum(item.why == f"by {LABELS_TABLE}" for item in self.listing.left),
        )


def read_pictures(
    listing: Listing,
    extractor: Extractor | FactsOnly,
    cache: Cache,
    config: FitConfig,
    *,
    strict: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Pictures:
    """Read a listing's pictures, extract features, and find what belongs together.

    Args:
        listing: What to read.
        extractor: The backbone, or what stands for it where only facts are wanted.
        cache: Filled on the way.
        config: How near near-duplicates are, and how many pictures are needed.
        strict: Refuse unreadable pictures.
        say: Takes lines for the person who waits.
        progress: Takes (pictures just done, pictures in all).

    Raises:
        UnreadableData: Strict, and a picture is unreadable.
        TooFewPictures: A class has too few readable pictures.
        OutputError: The cache cannot be written.
    """
    total = len(listing.names)
    extracted = extract(
        listing.source,
        listing.names,
        extractor,
        cache,
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
    copies = near_copies(extracted.facts)
    return Pictures(
        listing=listing,
        names=names,
        classes=classes,
        groups=together(names, listing.groups, copies),
        extracted=extracted,
        copies=copies,
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


def _say_left(left: Sequence[Left], what: str, say: Callable[[str], None]) -> None:
    """Name files, a few in full and the rest by count."""
    if left:
        say(f"{len(left)} files {what}:")
    for item in left[:_SHOWN]:
        say(f"  {item.name}: {item.why}")
    if len(left) > _SHOWN:
        say(f"  and {len(left) - _SHOWN} more")
