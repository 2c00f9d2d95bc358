"""Findings of trainings and audits about single pictures: doubted labels, copies, poor pictures."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, select

from models.bundle.out_of_fold import Answer
from studio.database.tables import classes, pictures
from studio.labels.findings import Doubt, Finding

SUSPECTS: Final = "suspect_labels"
"""Kind of the training job's finding about doubted labels."""

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


def suspects_of(
    rows: Iterable[Mapping[str, Any]], digests: Mapping[str, str]
) -> Iterator[tuple[str, Doubt]]:
    """Yield the label and the doubt of each picture whose label an audit suspects.

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
                    Doubt(
                        sha256=digests[case["name"]],
                        suggestion=str(case["suggested"]),
                        score=float(case["suggested_probability"]),
                        doubt=1 - float(case["given_probability"]),
                    ),
                )


def doubts_of(answers: Iterable[Answer]) -> Iterator[tuple[str, Doubt]]:
    """Yield the label and the doubt of each picture that a training has answered out of fold.

    A label is doubted if the answer differs from it; else there is a suggestion without a doubt.
    """
    for answer in answers:
        doubt = None if answer.correct else 1 - answer.probabilities[answer.label]
        yield answer.label, Doubt(answer.sha256, answer.predicted, answer.score, doubt)


def still_asked(
    connection: Connection, project: int, doubts: Iterable[tuple[str, Doubt]]
) -> list[Doubt]:
    """Return doubts, without the doubt where a picture's label has changed since it was judged."""
    rows = connection.execute(
        select(pictures.c.sha256, classes.c.name)
        .outerjoin(classes, classes.c.id == pictures.c.class_id)
        .where(pictures.c.project_id == project)
    )
    present = {row.sha256: row.name for row in rows}
    return [
        doubt
        if present.get(doubt.sha256) == label
        else Doubt(doubt.sha256, doubt.suggestion, doubt.score, None)
        for label, doubt in doubts
    ]


def _others(name: str, group: Iterable[str]) -> str:
    others = [other for other in group if other != name]
    rest = len(others) - _MAX_OTHERS
    return ", ".join(others[:_MAX_OTHERS]) + (f" and {rest:,} more" if rest > 0 else "")
