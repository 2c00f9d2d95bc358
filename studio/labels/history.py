"""The history of a project's acts, the newest first."""

from typing import Any, Final

from sqlalchemy import Connection, select

from studio.database.tables import acts
from studio.projects.projects import project_row

MAX_ACTS: Final = 500
"""Max acts per page."""


def list_acts(
    connection: Connection, project_id: int, *, limit: int = 50, before: int | None = None
) -> list[dict[str, Any]]:
    """Return acts, the newest first.

    Args:
        connection: A transaction.
        project_id: The project.
        limit: Number of acts.
        before: `key` of the last act of the page before.

    Raises:
        NotFound: There is no such project.
    """
    project_row(connection, project_id)
    undone = acts.alias()
    query = (
        select(acts, undone.c.uuid.label("undoes_uuid"))
        .outerjoin(undone, undone.c.id == acts.c.undoes)
        .where(acts.c.project_id == project_id)
        .order_by(acts.c.id.desc())
        .limit(min(limit, MAX_ACTS))
    )
    if before is not None:
        query = query.where(acts.c.id < before)
    return [
        {
            "key": row.id,
            "act": row.uuid,
            "kind": row.kind,
            "by": row.by,
            "at": row.at,
            "pictures": row.pictures,
            "summary": row.summary,
            "undone": row.undone_by is not None,
            "undoes": row.undoes_uuid,
        }
        for row in connection.execute(query)
    ]
