"""Findings and doubts of an audit or a run, per picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, select

from models.text import clean
from studio.database import Database
from studio.database.tables import findings, pictures
from studio.labels.acts import in_parts
from studio.labels.state import Counts, State, add_counts, count, is_doubted
from studio.projects.projects import lock_project, touch_project

DOUBTED: Final = "doubted"
"""Kind of finding of a picture whose label is doubted."""

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
class Doubt:
    """A label that a model doubts.

    Attributes:
        sha256: The picture's digest.
        suggestion: The label that the model gives, None if that is not known.
        score: The model's score of that label, likewise.
        doubt: 0..1: 1 minus the score of the picture's own label; None if there is no doubt.
    """

    sha256: str
    suggestion: str | None
    score: float | None
    doubt: float | None


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
        # A finding of an audit counts as a doubt, unless a run has judged the picture.
        doubted = {one.sha256: one for one in found if one.kind == DOUBTED}
        known = {
            row.sha256
            for row in _rows(connection, project_id, list(doubted))
            if row.doubt is not None and is_doubted(row, row.decision_id)
        }
        new: dict[str, Doubt | None] = {
            sha256: Doubt(sha256, None, None, 1.0 if one.score is None else one.score)
            for sha256, one in doubted.items()
            if sha256 not in known
        }
        _set_doubts(connection, project_id, new)
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


def store_doubts(
    database: Database, project_id: int, doubts: Sequence[Doubt], *, job_id: int | None = None
) -> None:
    """Replace a project's doubts and suggestions.

    A doubt is about the decision in force: it is open until the picture is judged again.

    Args:
        database: The database.
        project_id: The project.
        doubts: Max one per picture.
        job_id: The job that found them.

    Raises:
        NotFound: There is no such project.
    """
    with database.write() as connection:
        lock_project(connection, project_id)
        earlier = connection.execute(
            select(pictures.c.sha256).where(
                pictures.c.project_id == project_id,
                pictures.c.doubt.is_not(None) | pictures.c.suggestion.is_not(None),
            )
        ).scalars()
        wanted: dict[str, Doubt | None] = dict.fromkeys(earlier)
        _set_doubts(connection, project_id, wanted | {one.sha256: one for one in doubts})
        touch_project(connection, project_id)


def _set_doubts(
    connection: Connection, project_id: int, wanted: Mapping[str, Doubt | None]
) -> None:
    """Set or clear the doubts of pictures, by digest, and keep the counts."""
    counts = Counts()
    updates = []
    for row in _rows(connection, project_id, list(wanted)):
        one = wanted[row.sha256]
        doubt = None if one is None else one.doubt
        state, in_test_set = State.of(row), row.test_set_id is not None
        was = is_doubted(row, row.decision_id)
        counts.subtract(count(state, in_test_set=in_test_set, doubted=was))
        counts.update(count(state, in_test_set=in_test_set, doubted=doubt is not None))
        updates.append(
            {
                "of": row.id,
                "doubt": doubt,
                "doubted_decision_id": row.decision_id,
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
