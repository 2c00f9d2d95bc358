"""The audit: faults of a data set, found before a model is trained on it.

Findings have three levels. An error makes figures wrong or a run impossible, and should be
corrected. A warning may be a fault that a person should look at. An info is for information.
The audit removes and changes nothing.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from models.layout.files import is_picture
from models.layout.labels import split_kind
from training.audit.copies import copy_findings
from training.audit.findings import LEVELS, Finding, plural
from training.audit.label_issues import LabelIssues, label_issue_findings
from training.audit.quality import quality_findings
from training.audit.shortcut_findings import shortcut_findings
from training.audit.undeclared_groups import undeclared_group_findings
from training.data.dataset import FOLDER_ATTRIBUTE
from training.data.holdout import HoldoutSet
from training.data.source import SkippedFile
from training.data.tables import UnmatchedRows
from training.features.feature_set import FeatureSet

# Largest class by smallest: up to 3 the class weights of the fit compensate; beyond, the small
# class's figure becomes much less certain than the others'.
_MAX_IMBALANCE: Final = 3.0

# Pictures of a class below which its figure is too rough to act on: 50 of 50 correct is 93-100 %.
_MIN_PICTURES_FOR_FIGURES: Final = 50


def audit(
    feature_set: FeatureSet,
    *,
    label_issues: LabelIssues | None = None,
    min_pictures: int = 10,
    seed: int = 0,
) -> list[Finding]:
    """Look for all known faults of a data set.

    Args:
        feature_set: With features, or without any if no network was loaded.
        label_issues: Label issues that a model found, if one was available.
        min_pictures: Min number of pictures per class to train on.
        seed: Seed of the shortcuts' folds.

    Returns:
        The findings, the most severe level first.
    """
    names, labels = feature_set.names, feature_set.labels
    found = [
        *_file_findings(feature_set.unreadable, feature_set.listing.skipped),
        *unmatched_findings(feature_set.listing.unmatched),
        *_split_findings(feature_set),
        *copy_findings(feature_set),
        *label_issue_findings(names, labels, label_issues or LabelIssues()),
        *_count_findings(feature_set.pictures_per_class, min_pictures),
        *quality_findings(names, feature_set.stats),
        *shortcut_findings(feature_set, seed=seed),
        *undeclared_group_findings(feature_set),
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def _file_findings(
    unreadable: Sequence[SkippedFile], skipped: Sequence[SkippedFile]
) -> list[Finding]:
    """Report files that are not trained on."""
    cases = [
        (
            "warning",
            "unreadable",
            unreadable,
            "cannot be read as a picture and will be skipped: save again, or remove.",
        ),
        ("info", "left_out", skipped, "left out, not being pictures in a class's folder."),
    ]
    return [
        Finding(
            level,
            kind,
            f"{plural(len(files), 'file')} {outcome}",
            tuple(file.name for file in files),
            details={"why": {file.name: file.reason for file in files}},
        )
        for level, kind, files, outcome in cases
        if files
    ]


def unmatched_findings(unmatched: Sequence[UnmatchedRows], *, of: str = "") -> list[Finding]:
    """Report rows of tables that name no picture.

    Args:
        unmatched: From the data set, or a holdout set.
        of: That holdout set.
    """
    return [
        Finding(
            "warning",
            "unmatched_rows",
            f"{f'Test set {of}: ' if of else ''}{rows.sentence}",
            details={"table": rows.table, "rows": rows.rows, "unmatched": list(rows.files)},
        )
        for rows in unmatched
    ]


def holdout_findings(name: str, holdout: HoldoutSet) -> list[Finding]:
    """Report files and rows of tables of a holdout set that are not used."""
    pictures = [
        file
        for file in holdout.skipped
        if file not in holdout.source.skipped and is_picture(PurePosixPath(file.name))
    ]
    found = unmatched_findings(holdout.unmatched, of=name)
    if holdout.known:
        found.append(
            Finding(
                "warning",
                "training_pictures_in_test",
                f"Test set {name}: {plural(len(holdout.known), 'picture')} left out, being "
                "training pictures, copies of them, or of a declared group that is trained on, "
                f"the first {holdout.known[0]}.",
                holdout.known,
            )
        )
    if holdout.skipped:
        first = (pictures or holdout.skipped)[0]
        found.append(
            Finding(
                "warning" if pictures else "info",
                "left_out_of_test",
                f"Test set {name}: {plural(len(holdout.skipped), 'file')} left out, the first "
                f"{first.name}: {first.reason}.",
                details={"why": {file.name: file.reason for file in holdout.skipped}},
            )
        )
    return found


def _split_findings(feature_set: FeatureSet) -> list[Finding]:
    """Report folders below the class folders that look like splits, which training ignores."""
    folders = sorted(set(feature_set.listing.slices.get(FOLDER_ATTRIBUTE, {}).values()))
    kinds = {folder: kind for folder in folders if (kind := split_kind(folder))}
    if len(set(kinds.values())) < 2:
        return []
    return [
        Finding(
            "warning",
            "splits_below_classes",
            f"Folders below the class folders are called {', '.join(kinds)}, and the pictures of "
            "all of them are trained on. If they are splits, give those to test on to --test, in "
            "folders of their own.",
            details={"folders": list(kinds)},
        )
    ]


def _count_findings(counts: dict[str, int], min_pictures: int) -> list[Finding]:
    """Report classes with too few or with few pictures, then imbalance."""
    cases = [
        (
            "error",
            "too_few_pictures",
            [label for label, count in counts.items() if count < min_pictures],
            f"and training needs {min_pictures} per class",
        ),
        (
            "info",
            "few_pictures",
            [
                label
                for label, count in counts.items()
                if min_pictures <= count < _MIN_PICTURES_FOR_FIGURES
            ],
            f"so its figures will be rough; {_MIN_PICTURES_FOR_FIGURES} per class are better",
        ),
    ]
    found = [
        Finding(
            level,
            kind,
            f"Class {label!r} has {plural(counts[label], 'readable picture')}, {consequence}: "
            "add some.",
            details={"class": label, "pictures": counts[label]},
        )
        for level, kind, short, consequence in cases
        for label in short
    ]
    present = [count for count in counts.values() if count]
    if present and max(present) > _MAX_IMBALANCE * min(present):
        shown = ", ".join(f"{count:,} {label}" for label, count in counts.items())
        found.append(
            Finding(
                "warning",
                "class_imbalance",
                f"The largest class has {max(present) / min(present):.1f} times as many pictures "
                f"as the smallest ({shown}): add to the small one, whose figures are the least "
                "certain.",
                details={"pictures": counts},
            )
        )
    return found
