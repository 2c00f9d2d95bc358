"""A labels.csv of the labels that may be wrong, for a person to look through."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import reason_of
from training.audit.label_issues import LabelIssues
from training.data.tables import EXCLUDE
from training.errors import OutputError
from training.features.feature_set import FeatureSet

_COLUMNS: Final = ("file", "label", "label_now", "probability")


@dataclass(frozen=True)
class ProposedLabel:
    """A label that the model suggests for a picture.

    Attributes:
        file: Name of the picture in the data set.
        label: The suggested label.
        label_now: The label that it has.
        probability: Calibrated probability of the suggested label, 0..1.
    """

    file: str
    label: str
    label_now: str
    probability: float


def proposed_labels(feature_set: FeatureSet, issues: LabelIssues) -> list[ProposedLabel]:
    """Return the suggested label of each label issue, the most certain first."""
    return [
        ProposedLabel(
            file=feature_set.names[issue.index],
            label=feature_set.labels[issue.suggested],
            label_now=feature_set.labels[issue.given],
            probability=issue.suggested_probability,
        )
        for issue in issues.found
    ]


def write_proposed_labels(
    path: Path, proposals: Iterable[ProposedLabel], decided: Mapping[str, str | None]
) -> None:
    """Write a table in the form of labels.csv; an existing file is never replaced.

    Args:
        path: The file.
        proposals: The rows to look through; they have two columns more.
        decided: Rows of the data set's present labels.csv, kept before them; None excludes.

    Raises:
        OutputError: The file exists, or cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    proposed = list(proposals)
    replaced = {proposal.file for proposal in proposed}
    for file, label in decided.items():
        if file not in replaced:
            writer.writerow([file, EXCLUDE if label is None else label, "", ""])
    for row in proposed:
        writer.writerow([row.file, row.label, row.label_now, f"{row.probability:.3f}"])
    try:
        with open(path, "x", encoding="utf-8") as table:
            table.write(text.getvalue())
    except FileExistsError as error:
        raise OutputError(f"{path} exists, and is not replaced: give another name.") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({reason_of(error)}).") from error
