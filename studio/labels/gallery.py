"""The gallery: ids of the pictures to show, in order, and details of some."""

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from studio.database.tables import blobs, findings, pictures
from studio.labels.findings import findings_of
from studio.labels.state import has_label_issue
from studio.problems import BadRequest, TooManyFiles
from studio.projects.classes import LEFT_OUT, Classes
from studio.projects.projects import project_row

MAX_DETAILS: Final = 400
"""Max pictures whose details are read at once."""

Order = Literal["label_issues", "name", "added"]
_OPEN_ISSUE: Final = and_(
    pictures.c.issue_score.is_not(None), pictures.c.issue_decision_id == pictures.c.decision_id
)
_STATES: Final = {
    "unlabelled": (pictures.c.class_id.is_(None), ~pictures.c.left_out),
    "labelled": (pictures.c.class_id.is_not(None), ~pictures.c.left_out),
    "left_out": (pictures.c.left_out,),
    "test": (pictures.c.test_set_id.is_not(None),),
    "label_issue": (_OPEN_ISSUE, ~pictures.c.left_out),
}


def list_ids(
    connection: Connection,
    project_id: int,
    *,
    label: str | None = None,
    filter: str | None = None,
    order: Order = "added",
) -> list[int]:
    """Return the ids of the pictures to show.

    Args:
        connection: A transaction.
        project_id: The project.
        label: A class, "" for pictures without one, "-" for those that are left out; None for all.
        filter: `unlabelled`, `left_out`, `labelled`, `test`, `label_issue`, or a kind of finding.
        order: `label_issues` has the likeliest label issues first, then pictures with findings.

    Raises:
        NotFound, UnknownClass, BadRequest: As the names say.
    """
    project_row(connection, project_id)
    chosen: list[ColumnElement[bool]] = [pictures.c.project_id == project_id, pictures.c.present]
    if label in ("", LEFT_OUT):
        chosen += _STATES["left_out" if label else "unlabelled"]
    elif label is not None:
        chosen += [pictures.c.class_id == Classes.of(connection, project_id).id_of(label)]
    if filter:
        chosen += _conditions(project_id, filter)
    query = select(pictures.c.id).where(*chosen)
    if order == "label_issues":
        odd = (
            select(findings.c.picture_id, func.count().label("kinds"))
            .where(findings.c.project_id == project_id)
            .group_by(findings.c.picture_id)
            .subquery()
        )
        issue_score = func.coalesce(pictures.c.issue_score, 0.0)
        query = query.outerjoin(odd, odd.c.picture_id == pictures.c.id).order_by(
            _OPEN_ISSUE.desc(),
            issue_score.desc(),
            func.coalesce(odd.c.kinds, 0).desc(),
            pictures.c.id,
        )
    elif order == "name":
        query = query.order_by(pictures.c.name, pictures.c.id)
    elif order == "added":
        query = query.order_by(pictures.c.id)
    else:
        raise BadRequest(f"order is one of {', '.join(get_args(Order))}.")
    return list(connection.execute(query).scalars())


def _conditions(project_id: int, filter: str) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter: a state, or a kind of finding."""
    if filter in _STATES:
        return list(_STATES[filter])
    found = exists().where(
        findings.c.project_id == project_id,
        findings.c.kind == filter,
        findings.c.picture_id == pictures.c.id,
    )
    return [found, ~pictures.c.left_out]


def describe_pictures(
    connection: Connection, project_id: int, ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return details of pictures, in the order of the ids; without those that are gone.

    Raises:
        NotFound: There is no such project.
        TooManyFiles: There are more than `MAX_DETAILS`.
    """
    if len(ids) > MAX_DETAILS:
        raise TooManyFiles(f"Details of {MAX_DETAILS} pictures are read at once.")
    project_row(connection, project_id)
    classes = Classes.of(connection, project_id)
    rows = {
        row.id: row
        for row in connection.execute(
            select(pictures, blobs.c.width, blobs.c.height, blobs.c.bytes)
            .join(blobs, blobs.c.sha256 == pictures.c.sha256)
            .where(pictures.c.project_id == project_id, pictures.c.id.in_(ids), pictures.c.present)
        )
    }
    found = findings_of(connection, list(rows))
    return [_details(rows[id], classes, found[id]) for id in ids if id in rows]


def _details(row: Any, classes: Classes, found: list[dict[str, Any]]) -> dict[str, Any]:
    suggestion = row.suggestion and {"label": row.suggestion, "score": row.suggestion_score}
    return {
        "id": row.id,
        "sha256": row.sha256,
        "name": row.name,
        "label": classes.label(row.class_id, left_out=row.left_out),
        "revision": row.revision,
        "group": row.group_name,
        "source": row.source,
        "test": row.test_set_id is not None,
        "width": row.width,
        "height": row.height,
        "bytes": row.bytes,
        "findings": found,
        "issue_score": row.issue_score if has_label_issue(row, row.decision_id) else None,
        "suggestion": suggestion or None,
        "judged": row.decided,
    }
