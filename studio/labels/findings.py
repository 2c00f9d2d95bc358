"""Findings and label issues of an audit or a run, per picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from models.text import clean
from studio.database import Database
from studio.database.tables import findings, pictures
from studio.labels.acts import in_parts
from studio.labels.state import Counts, State, add_counts, count, has_label_issue
from studio.projects.projects import lock_project, touch_project

LABEL_ISSUE: Final = "label_issue"
"""Kind of finding of a picture whose label may be wrong."""

_MAX_MESSAGE_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd about a picture.

    Attributes:
        sha256: The picture's digest.
        kind: Such as `dark`, `blurred`, `tiny`, `odd_shape`, `copies`.
        message: One sentence.
        score: How strong it is; the gallery shows the highest first.
    """

    sha256: str
    kind: str
    message: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A label that may be wrong, by a model.

    Attributes:
        sha256: The picture's digest.
        suggestion: The label that the model gives, None if that is not known.
        score: The model's score of that label, likewise.
        issue_score: 0..1: 1 minus the score of the picture's own label; None if it seems right.
    """

    sha256: str
    suggestion: str | None
    score: float | None
    issue_score: float | None


def store_findings(
    database: Database, project_id: int, found: Sequence[Finding], *, job_id: int | None = None
) -> None:
    """Replace a project's findings of earlier jobs; those of uploads stay.

    Raises:
        NotFound: There is no such project.
    """
    with database.write() as connection:
        lock_project(connection, project_id)
        ids = {
            row.sha256: row.id for row in _rows(connection, project_id, [f.sha256 for f in found])
        }
        kinds = {one.kind for one in found}
        outdated = findings.c.job_id.is_not(None) | findings.c.kind.in_(kinds)
        connection.execute(findings.delete().where(findings.c.project_id == project_id, outdated))
        insert_findings(
            connection,
            project_id,
            [(ids[one.sha256], one) for one in found if one.sha256 in ids],
            job_id=job_id,
        )
        # A finding of an audit counts as a label issue, unless a run has judged the picture.
        audited = {one.sha256: one for one in found if one.kind == LABEL_ISSUE}
        known = {
            row.sha256
            for row in _rows(connection, project_id, list(audited))
            if row.issue_score is not None and has_label_issue(row, row.decision_id)
        }
        new: dict[str, LabelIssue | None] = {
            sha256: LabelIssue(sha256, None, None, 1.0 if one.score is None else one.score)
            for sha256, one in audited.items()
            if sha256 not in known
        }
        _set_label_issues(connection, project_id, new)
        touch_project(connection, project_id)


def insert_findings(
    connection: Connection,
    project_id: int,
    found: Sequence[tuple[int, Finding]],
    *,
    job_id: int | None = None,
) -> None:
    """Insert findings about pictures, by id."""
    values = [
        {
            "project_id": project_id,
            "picture_id": picture_id,
            "kind": one.kind,
            "message": clean(one.message)[:_MAX_MESSAGE_CHARS],
            "score": one.score,
            "job_id": job_id,
        }
        for picture_id, one in found
    ]
    if values:
        connection.execute(findings.insert(), values)


def store_label_issues(
    database: Database, project_id: int, issues: Sequence[LabelIssue], *, job_id: int | None = None
) -> None:
    """Replace a project's label issues and suggestions.

    A label issue is about the decision in force: it is open until the picture is judged again.

    Args:
        database: The database.
        project_id: The project.
        issues: Max one per picture.
        job_id: The job that found them.

    Raises:
        NotFound: There is no such project.
    """
    with database.write() as connection:
        lock_project(connection, project_id)
        earlier = connection.execute(
            select(pictures.c.sha256).where(
                pictures.c.project_id == project_id,
                pictures.c.issue_score.is_not(None) | pictures.c.suggestion.is_not(None),
            )
        ).scalars()
        wanted: dict[str, LabelIssue | None] = dict.fromkeys(earlier)
        _set_label_issues(connection, project_id, wanted | {one.sha256: one for one in issues})
        touch_project(connection, project_id)


def _set_label_issues(
    connection: Connection, project_id: int, wanted: Mapping[str, LabelIssue | None]
) -> None:
    """Set or clear the label issues of pictures, by digest, and keep the counts."""
    counts = Counts()
    updates = []
    for row in _rows(connection, project_id, list(wanted)):
        one = wanted[row.sha256]
        issue_score = None if one is None else one.issue_score
        state, in_test_set = State.of(row), row.test_set_id is not None
        was = has_label_issue(row, row.decision_id)
        counts.subtract(count(state, in_test_set=in_test_set, has_issue=was))
        counts.update(count(state, in_test_set=in_test_set, has_issue=issue_score is not None))
        updates.append(
            {
                "of": row.id,
                "issue_score": issue_score,
                "issue_decision_id": row.decision_id,
                "suggestion": None if one is None else one.suggestion,
                "suggestion_score": None if one is None else one.score,
            }
        )
    if updates:
        connection.execute(pictures.update().where(pictures.c.id == bindparam("of")), updates)
    add_counts(connection, project_id, counts)


def findings_of(connection: Connection, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Return kind and message of each finding, by picture."""
    found: dict[int, list[dict[str, Any]]] = {id: [] for id in ids}
    for row in connection.execute(
        select(findings).where(findings.c.picture_id.in_(ids)).order_by(findings.c.id)
    ):
        found[row.picture_id].append({"kind": row.kind, "message": row.message})
    return found


def _rows(connection: Connection, project_id: int, digests: Sequence[str]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for part in in_parts(sorted(set(digests))):
        rows += connection.execute(
            select(pictures).where(pictures.c.project_id == project_id, pictures.c.sha256.in_(part))
        ).all()
    return rows
