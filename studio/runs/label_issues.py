"""Findings of trainings and audits about single pictures: label issues, copies, poor pictures."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, select

from models.bundle.out_of_fold import Answer
from studio.database.tables import classes, pictures
from studio.labels.findings import Finding, LabelIssue

SUSPECTS: Final = "suspect_labels"
"""Kind of the training job's finding about label issues."""

# The training job's kinds of findings about single pictures, and the studio's words for them.
_KINDS: Final = {
    "near_duplicates": ("copies", "A copy of {others}."),
    "near_duplicates_across_classes": ("copies", "A copy of {others}, under another label."),
    "odd_aspect": ("odd_shape", "Much longer than wide, or wider than long."),
    "blank": ("blank", "Almost of one colour."),
    "tiny": ("tiny", "Very small."),
    "dark": ("dark", "Very dark."),
    "bright": ("bright", "Very bright."),
    "blurred": ("blurred", "Blurred."),
    "no_face": ("no_face", "No face was found."),
}
_MAX_OTHERS: Final = 3


def findings_of(rows: Iterable[Mapping[str, Any]], digests: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings of an audit by picture; names without a picture are skipped.

    Args:
        rows: Findings as `python -m training audit --json` writes them.
        digests: Digest of each picture by its name in the audited folder.
    """
    for row in rows:
        kind, sentence = _KINDS.get(str(row.get("kind")), (None, ""))
        if kind is None:
            continue
        for group in row.get("groups") or [[name] for name in row.get("names", [])]:
            for name in group:
                if name in digests:
                    message = sentence.format(others=_others(name, group))
                    yield Finding(sha256=digests[name], kind=kind, message=message)


def audited_issues_of(
    rows: Iterable[Mapping[str, Any]], digests: Mapping[str, str]
) -> Iterator[tuple[str, LabelIssue]]:
    """Yield the label and the label issue of each picture whose label may be wrong by an audit.

    Args:
        rows: Findings as the training job writes them.
        digests: Digest of each picture by its name in the audited folder.
    """
    for row in rows:
        if row.get("kind") != SUSPECTS:
            continue
        for case in (row.get("details") or {}).get("suspects", []):
            if case["name"] in digests:
                yield (
                    str(case["given"]),
                    LabelIssue(
                        sha256=digests[case["name"]],
                        suggestion=str(case["suggested"]),
                        score=float(case["suggested_probability"]),
                        issue_score=1 - float(case["given_probability"]),
                    ),
                )


def label_issues_of(answers: Iterable[Answer]) -> Iterator[tuple[str, LabelIssue]]:
    """Yield the label and the label issue of each picture that a training has answered out of fold.

    A label may be wrong if the answer differs from it; else there is a suggestion alone.
    """
    for answer in answers:
        issue_score = None if answer.correct else 1 - answer.probabilities[answer.label]
        yield answer.label, LabelIssue(answer.sha256, answer.predicted, answer.score, issue_score)


def clear_relabelled(
    connection: Connection, project: int, issues: Iterable[tuple[str, LabelIssue]]
) -> list[LabelIssue]:
    """Return label issues, cleared where a picture has another label since it was judged."""
    rows = connection.execute(
        select(pictures.c.sha256, classes.c.name)
        .outerjoin(classes, classes.c.id == pictures.c.class_id)
        .where(pictures.c.project_id == project)
    )
    present = {row.sha256: row.name for row in rows}
    return [
        issue
        if present.get(issue.sha256) == label
        else LabelIssue(issue.sha256, issue.suggestion, issue.score, None)
        for label, issue in issues
    ]


def _others(name: str, group: Iterable[str]) -> str:
    others = [other for other in group if other != name]
    rest = len(others) - _MAX_OTHERS
    return ", ".join(others[:_MAX_OTHERS]) + (f" and {rest:,} more" if rest > 0 else "")
