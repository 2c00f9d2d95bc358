"""Findings on copies: the same file, or the same picture saved again, inside and across classes."""

from collections import defaultdict
from collections.abc import Sequence

from training.audit.findings import Finding, plural
from training.data.hash_search import connected_groups
from training.data.image_stats import ImageStats
from training.features.feature_set import FeatureSet

Group = tuple[int, ...]


def copy_findings(feature_set: FeatureSet) -> list[Finding]:
    """Report exact and near copies, inside classes and across them."""
    names, labels, classes = feature_set.names, feature_set.labels, feature_set.classes
    stats = feature_set.stats

    def crosses_classes(group: Group) -> bool:
        return len({int(classes[i]) for i in group}) > 1

    exact = find_exact_copies(stats)
    near = [
        group
        for group in _connect(feature_set.duplicates)
        if len({stats[i].sha256 for i in group}) > 1
    ]
    cases = [
        (
            "error",
            "exact_duplicates_across_classes",
            [group for group in exact if crosses_classes(group)],
            "the same file in folders of different classes, so at least one label is wrong: "
            "keep each in one folder only",
        ),
        (
            "error",
            "near_duplicates_across_classes",
            [group for group in near if crosses_classes(group)],
            "the same picture, saved again, resized or mirrored, in folders of different classes: "
            "keep each in one folder only",
        ),
        (
            "warning",
            "exact_duplicates",
            [group for group in exact if not crosses_classes(group)],
            "the same file twice or more: keep one of each",
        ),
        (
            "warning",
            "near_duplicates",
            [group for group in near if not crosses_classes(group)],
            "the same picture, saved again, resized or mirrored: keep the best of each",
        ),
    ]
    return [
        Finding(
            level,
            kind,
            f"{plural(len(groups), 'case')} of {what}. Cross-validation keeps copies in one fold, "
            "but they count twice.",
            tuple(names[i] for group in groups for i in group),
            tuple(tuple(names[i] for i in group) for group in groups),
            {"labels": [sorted({labels[classes[i]] for i in group}) for group in groups]},
        )
        for level, kind, groups, what in cases
        if groups
    ]


def find_exact_copies(stats: Sequence[ImageStats]) -> list[Group]:
    """Return groups of two or more pictures whose files are equal to the byte, as indices."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(stats):
        groups[one.sha256].append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _connect(pairs: Sequence[tuple[int, int]]) -> list[Group]:
    """Return the groups of two or more indices that pairs connect."""
    indices = sorted({index for pair in pairs for index in pair})
    numbers = connected_groups(indices[-1] + 1 if indices else 0, pairs)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in indices:
        groups[int(numbers[index])].append(index)
    return [tuple(group) for group in groups.values()]
