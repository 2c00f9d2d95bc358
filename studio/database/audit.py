"""The audit log: actor, action and time of each change, without names of pictures."""

from collections.abc import Mapping

from sqlalchemy import insert

from studio.database.database import Database, now
from studio.database.tables import audit_log
from studio.keys import Actor


def record(
    database: Database,
    actor: Actor,
    action: str,
    *,
    project: int | None = None,
    detail: Mapping[str, object] | None = None,
    request_id: str | None = None,
) -> None:
    """Append a row.

    Args:
        database: The studio's database.
        actor: Author of the change.
        action: Method and route of a request, or the name of a command.
        project: The project concerned.
        detail: Identifiers of what was changed.
        request_id: Id of the request, for the access log.
    """
    row = {
        "at": now(),
        "by": actor.name,
        "role": str(actor.role),
        "action": action[:200],
        "project": project,
        "request_id": request_id and request_id[:64],
        "detail": dict(detail or {}),
    }
    with database.write() as connection:
        connection.execute(insert(audit_log).values(row))
