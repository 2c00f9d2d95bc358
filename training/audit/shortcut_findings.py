"""Findings of shortcuts: what the audit reports of them, in words."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from training.audit.findings import Finding
from training.audit.shortcuts import (
    MIN_PICTURES,
    MIN_PICTURES_PER_CLASS,
    SHARE_OF,
    Shortcut,
    find_shortcuts,
    find_word_shortcuts,
)
from training.features.feature_set import FeatureSet

_MAX_NAMES: Final = 5  # of classes, in a message

_ASK_SOURCE: Final = (
    "Do the classes come from different cameras, sites or programs? Then a model may learn that "
    "instead of what they show: mix the sources, or save all pictures alike."
)
_ASK_LOOK: Final = (
    "Is that what the class looks like, or only how these pictures were taken? If the latter, "
    "add pictures of each class under the other's conditions."
)
_MESSAGES: Final[dict[str, tuple[str, str]]] = {
    "size": ("Width and height alone distinguish", _ASK_SOURCE),
    "file": ("File format, colour mode and compression alone distinguish", _ASK_SOURCE),
    "sharpness": ("Sharpness alone distinguishes", _ASK_SOURCE),
    "light": ("Brightness and contrast alone distinguish", _ASK_LOOK),
    "colour": ("The mean colour alone distinguishes", _ASK_LOOK),
}


def shortcut_findings(feature_set: FeatureSet, *, seed: int) -> list[Finding]:
    """Report the shortcuts that are warnings."""
    labels = feature_set.labels
    shortcuts = find_shortcuts(
        feature_set.stats, feature_set.classes, feature_set.groups, seed=seed
    )
    if not any(shortcut.is_warning and shortcut.family == "file" for shortcut in shortcuts):
        shortcuts += find_word_shortcuts(
            feature_set.stats, feature_set.classes, feature_set.groups
        )[:1]
    return _not_checked(feature_set) + [
        Finding(
            "warning",
            f"shortcut_{shortcut.family}",
            _format_message(shortcut, labels),
            details=shortcut.as_dict(labels),
        )
        for shortcut in shortcuts
        if shortcut.is_warning
    ]


def _not_checked(feature_set: FeatureSet) -> list[Finding]:
    """Report the classes that have too few independent pictures to look for shortcuts."""
    counts = [
        len(np.unique(feature_set.groups[feature_set.classes == k]))
        for k in range(len(feature_set.labels))
    ]
    enough = sum(counts) >= MIN_PICTURES
    few = [
        label
        for label, count in zip(feature_set.labels, counts, strict=True)
        if not enough or count < MIN_PICTURES_PER_CLASS
    ]
    if not few or not len(feature_set.names):
        return []
    return [
        Finding(
            "info",
            "shortcuts_not_checked",
            f"Shortcuts were not looked for in {', '.join(map(repr, few))}"
            f"{' alone, only with other classes' if enough and len(counts) > 2 else ''}: too few. "
            f"It takes {MIN_PICTURES_PER_CLASS} independent pictures per class and "
            f"{MIN_PICTURES} in all; those of a group count as one.",
            details={"classes": few},
        )
    ]


def _format_message(shortcut: Shortcut, labels: Sequence[str]) -> str:
    statistics, question = _MESSAGES[shortcut.family]
    names = [repr(labels[k]) for k in shortcut.inside]
    more = [f"{len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else []
    *others, last = names[:_MAX_NAMES] + more
    inside = f"{', '.join(others)} and {last}" if others else last
    rest = repr(labels[1 - shortcut.inside[0]]) if len(labels) == 2 else "the rest"
    words = [name for name in shortcut.medians if name.startswith(SHARE_OF)]
    if len(words) == len(shortcut.medians):  # of Fisher's exact test
        ((what, (share, share_of_rest)),) = shortcut.medians.items()
        return (
            f"{share:.0%} of {inside} have {what.removeprefix(SHARE_OF)}, and "
            f"{share_of_rest:.0%} of {rest} (Fisher's exact test). {question}"
        )
    low, high = shortcut.interval_95
    return (
        f"{statistics} {inside} from {rest} in "
        f"{shortcut.balanced_accuracy:.0%} of pictures ({low:.0%} to {high:.0%}; guessing gives "
        f"50 %). {question}"
    )
