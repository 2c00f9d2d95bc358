"""The audit: what is wrong with a data set, told before anything is trained on it.

Three levels. An error makes figures wrong or a run impossible: it should be mended. A warning
may be a fault, and a person should look. An info is for knowing. Nothing is removed or changed.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.audit.copies import exact_copies
from training.audit.findings import LEVELS, Finding, many
from training.audit.label_issues import Suspect
from training.audit.quality import COMMON_SHARE, ODDITIES, modes
from training.audit.shortcuts import Shortcut, find_shortcuts
from training.data.dataset import Left
from training.data.duplicates import components
from training.data.image_stats import PictureFacts
from training.errors import TooFewPictures
from training.features.feature_set import Pictures

# Largest class by smallest: up to 3 the class weights of the fit make up for it; beyond, the
# small class's figure becomes much less certain than the others'.
_IMBALANCE: Final = 3.0

# Pictures of a class below which its figure is too rough to act on: of 50, all right is 93-100 %.
_FEW: Final = 50


def audit(
    pictures: Pictures, *, suspects: Sequence[Suspect] = (), fewest: int = 10, seed: int = 0
) -> list[Finding]:
    """Look for everything that is known to spoil a data set.

    Args:
        pictures: Read; their features are not used.
        suspects: Labels that a model doubts, where one was asked.
        fewest: Pictures that a class needs to be trained on.
        seed: Of the shortcuts' folds.

    Returns:
        The findings, worst level first.
    """
    labels, names, classes = pictures.labels, pictures.names, pictures.classes
    facts = pictures.extracted.facts
    found = [
        *_files(pictures.extracted.unreadable, pictures.listing.left),
        *_copies(names, labels, classes, facts, pictures.copies),
        *suspect_findings(names, labels, suspects),
        *_counts(labels, classes, fewest),
        *_pictures(names, facts),
        *_shortcuts(labels, classes, pictures.groups, facts, seed),
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _files(unreadable: Sequence[Left], left: Sequence[Left]) -> list[Finding]:
    found = []
    if unreadable:
        found.append(
            Finding(
                "warning",
                "unreadable",
                f"{many(len(unreadable), 'file')} cannot be read as a picture and will be "
                "skipped: save anew, or remove.",
                tuple(item.name for item in unreadable),
                details={"why": {item.name: item.why for item in unreadable}},
            )
        )
    if left:
        found.append(
            Finding(
                "info",
                "left_out",
                f"{many(len(left), 'file')} left out, not being pictures in a class's folder.",
                tuple(item.name for item in left),
                details={"why": {item.name: item.why for item in left}},
            )
        )
    return found


def _copies(
    names: Sequence[str],
    labels: Sequence[str],
    classes: NDArray[np.int64],
    facts: Sequence[PictureFacts],
    pairs: Sequence[tuple[int, int]],
) -> list[Finding]:
    """Copies, the same to the byte or to the eye, inside classes and across them."""
    exact = exact_copies(facts)
    near = [group for group in _joined(pairs) if len({facts[i].sha256 for i in group}) > 1]

    def across(group: tuple[int, ...]) -> bool:
        return len({int(classes[i]) for i in group}) > 1

    def within(group: tuple[int, ...]) -> bool:
        return not across(group)

    cases: list[tuple[str, str, list[tuple[int, ...]], str]] = [
        (
            "error",
            "exact_duplicates_across_classes",
            list(filter(across, exact)),
            "the same file in folders of different classes, so at least one label is wrong: "
            "keep each in one folder only",
        ),
        (
            "error",
            "near_duplicates_across_classes",
            list(filter(across, near)),
            "the same picture, saved anew, resized or mirrored, in folders of different classes: "
            "keep each in one folder only",
        ),
        (
            "warning",
            "exact_duplicates",
            list(filter(within, exact)),
            "the same file twice or more: keep one of each",
        ),
        (
            "warning",
            "near_duplicates",
            list(filter(within, near)),
            "the same picture, saved anew, resized or mirrored: keep the best of each",
        ),
    ]
    return [
        Finding(
            level,
            kind,
            f"{many(len(groups), 'case')} of {what}. Copies never stand on both sides of a fold, "
            "but they weigh double.",
            tuple(names[i] for group in groups for i in group),
            tuple(tuple(names[i] for i in group) for group in groups),
            {"labels": [sorted({labels[classes[i]] for i in group}) for group in groups]},
        )
        for level, kind, groups, what in cases
        if groups
    ]


def _joined(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The groups of two or more that pairs join."""
    members: dict[int, list[int]] = {}
    places = sorted({place for pair in pairs for place in pair})
    numbers = components(places[-1] + 1 if places else 0, pairs)
    for place in places:
        members.setdefault(int(numbers[place]), []).append(place)
    return [tuple(group) for group in members.values()]


def suspect_findings(
    names: Sequence[str], labels: Sequence[str], suspects: Sequence[Suspect]
) -> list[Finding]:
    """The finding on labels that a model doubts, for a run that asks the model later.

    Args:
        names: Of the pictures.
        labels: Class names.
        suspects: Most doubtful first.
    """
    if not suspects:
        return []
    return [
        Finding(
            "warning",
            "suspect_labels",
            f"{many(len(suspects))} may be in the wrong folder, says a model that was fitted "
            "without them: look at each, and move those that are.",
            tuple(names[suspect.place] for suspect in suspects),
            details={
                "suspects": [
                    {
                        "name": names[suspect.place],
                        "given": labels[suspect.given],
                        "suggested": labels[suspect.suggested],
                        "given_probability": suspect.given_probability,
                        "suggested_probability": suspect.suggested_probability,
                    }
                    for suspect in suspects
                ]
            },
        )
    ]


def _counts(labels: Sequence[str], classes: NDArray[np.int64], fewest: int) -> list[Finding]:
    counts = {label: int((classes == k).sum()) for k, label in enumerate(labels)}
    shown = ", ".join(f"{count:,} {label}" for label, count in counts.items())
    found = []
    for level, kind, bound, what in (
        ("error", "too_few_pictures", fewest, "and training needs {bound} of a class"),
        ("info", "few_pictures", _FEW, "so its figures will be rough; {bound} a class are better"),
    ):
        short = [k for k, count in counts.items() if count < bound]
        if level == "info":
            short = [label for label in short if counts[label] >= fewest]
        for label in short:
            found.append(
                Finding(
                    level,
                    kind,
                    f"Class {label!r} has {many(counts[label], 'readable picture')}, "
                    f"{what.format(bound=bound)}: add some.",
                    details={"class": label, "pictures": counts[label]},
                )
            )
    present = [count for count in counts.values() if count]
    if present and max(present) > _IMBALANCE * min(present):
        found.append(
            Finding(
                "warning",
                "class_imbalance",
                f"The largest class has {max(present) / min(present):.1f} times as many pictures "
                f"as the smallest ({shown}): add to the small one, its figures are the least sure.",
                details={"pictures": counts},
            )
        )
    return found


def _pictures(names: Sequence[str], facts: Sequence[PictureFacts]) -> list[Finding]:
    found = []
    for oddity in ODDITIES:
        places = [place for place, fact in enumerate(facts) if oddity.test(fact)]
        if not places:
            continue
        message = f"{many(len(places))} {_be(places)} {oddity.what}. {oddity.advice}"
        level = oddity.level
        if len(places) > COMMON_SHARE * len(facts) and len(facts) >= 1 / COMMON_SHARE:
            level = "info"
            message += " With so many of them, it may just be how this set is."
        chosen = [facts[place] for place in places]
        details = {"modes": modes(chosen)} if oddity.kind == "not_rgb" else {}
        found.append(
            Finding(level, oddity.kind, message, tuple(names[i] for i in places), details=details)
        )
    return found


def _be(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"


def _shortcuts(
    labels: Sequence[str],
    classes: NDArray[np.int64],
    groups: NDArray[np.int64],
    facts: Sequence[PictureFacts],
    seed: int,
) -> list[Finding]:
    try:
        tried = find_shortcuts(facts, classes, groups, count=len(labels), seed=seed)
    except TooFewPictures:  # all of a class in one or two groups: no telling
        return []
    return [
        Finding(
            "warning",
            f"shortcut_{shortcut.family}",
            _question(shortcut, labels),
            details=shortcut.as_dict(labels),
        )
        for shortcut in tried
        if shortcut.is_warning
    ]


_ASK_SOURCE: Final = (
    "Do the classes come from different cameras, sites or programs? Then a model may learn that "
    "instead of what they show: mix the sources, or save all pictures alike."
)
_ASK_LOOK: Final = (
    "Is that what the class looks like, or only how these pictures were taken? If the latter, "
    "add pictures of each class under the other's conditions."
)
_FAMILY_WORDS: Final[dict[str, tuple[str, str]]] = {
    "size": ("Width and height alone tell", _ASK_SOURCE),
    "file": ("File format, colour mode and compression alone tell", _ASK_SOURCE),
    "sharpness": ("Sharpness alone tells", _ASK_SOURCE),
    "light": ("Brightness and contrast alone tell", _ASK_LOOK),
    "colour": ("The mean colour alone tells", _ASK_LOOK),
}


def _question(shortcut: Shortcut, labels: Sequence[str]) -> str:
    facts, question = _FAMILY_WORDS[shortcut.family]
    rest = repr(labels[1]) if len(labels) == 2 else "the rest"
    low, high = shortcut.interval_95
    return (
        f"{facts} {labels[shortcut.label]!r} from {rest} in "
        f"{shortcut.balanced_accuracy:.0%} of pictures ({low:.0%} to {high:.0%}; guessing gives "
        f"50 %). {question}"
    )
