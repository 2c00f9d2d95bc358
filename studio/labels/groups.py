"""Groups of pictures of one person or thing, set by hand or by a pattern of their names."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, select

from models.layout.labels import MAX_LABEL_CHARS
from studio.database import Database
from studio.database.tables import pictures
from studio.labels.acts import checked_uuid, find_act, picture_rows, set_states
from studio.labels.decisions import MAX_DECISIONS
from studio.labels.matching_process import MATCHING_S, match_names
from studio.labels.state import State
from studio.problems import BadName, BadPattern, TooManyFiles
from studio.projects.names import checked_name
from studio.projects.projects import lock_project, project_row

_MAX_PATTERN_CHARS: Final = 200
_MAX_NAME_CHARS: Final = 300  # of a name to match


@dataclass(frozen=True)
class Grouping:
    """Groups that a pattern finds.

    Attributes:
        groups: Ids of the pictures by group, sorted.
        unmatched: Number of pictures that it does not match.
    """

    groups: Mapping[str, Sequence[int]]
    unmatched: int


def group_pictures(
    database: Database,
    project_id: int,
    ids: Sequence[int],
    group: str | None,
    *,
    by: str,
    act: str | None = None,
) -> str:
    """Put pictures into a group, or take them out of theirs, and return the act's id.

    Args:
        database: The database.
        project_id: The project.
        ids: The pictures.
        group: Name of the group, None for none.
        by: Name of who acts.
        act: The act's id, made by the client; a repeated one changes nothing.

    Raises:
        NotFound, BadName, TooManyFiles, ActReused: As the names say.
    """
    name = None if group is None else checked_name(group, of="a group")
    named = f"group {name}" if name else "no group"
    return _set_groups(database, project_id, dict.fromkeys(ids, name), by, act, summary=named)


def preview_groups(database: Database, project_id: int, pattern: str) -> Grouping:
    """Return the groups that a pattern finds in the names, without changing anything.

    Args:
        database: The database.
        project_id: The project.
        pattern: A regular expression; its first bracket, or all that it matches, is the group.

    Raises:
        NotFound, BadPattern: As the names say.
    """
    with database.read() as connection:
        project_row(connection, project_id)
        return _matched(connection, project_id, pattern)


def group_by_pattern(
    database: Database, project_id: int, pattern: str, *, by: str, act: str | None = None
) -> tuple[Grouping, str]:
    """Put the pictures that a pattern matches into groups; return them and the act's id.

    Raises:
        NotFound, BadPattern, ActReused: As the names say.
    """
    found = preview_groups(database, project_id, pattern)
    groups = {id: name for name, ids in found.groups.items() for id in ids}
    summary = f"groups by {pattern}"
    uuid = _set_groups(database, project_id, groups, by, act, summary=summary, limit=None)
    return found, uuid


def set_groups(
    database: Database, project_id: int, groups: Mapping[int, str | None], *, by: str, summary: str
) -> str:
    """Set the groups of pictures, by id, as one act; return its id.

    Raises:
        NotFound: There is no such project.
    """
    return _set_groups(database, project_id, groups, by, None, summary=summary, limit=None)


def _set_groups(
    database: Database,
    project_id: int,
    groups: Mapping[int, str | None],
    by: str,
    act: str | None,
    *,
    summary: str,
    limit: int | None = MAX_DECISIONS,
) -> str:
    if limit is not None and len(groups) > limit:
        raise TooManyFiles(f"An act may hold {limit:,} pictures.")
    uuid = checked_uuid(act) if act else str(uuid4())
    request = ["group", sorted(groups.items())]
    with database.write() as connection:
        lock_project(connection, project_id)
        if find_act(connection, project_id, uuid, request) is None:
            rows = picture_rows(connection, project_id, groups)
            wanted = [(row, replace(State.of(row), group=groups[row.id])) for row in rows.values()]
            set_states(
                connection,
                project_id,
                [(row, state) for row, state in wanted if state.present],
                uuid=uuid,
                kind="group",
                by=by,
                request=request,
                summary=summary,
            )
    return uuid


def _matched(connection: Connection, project_id: int, pattern: str) -> Grouping:
    """Return the groups that a pattern finds.

    Raises:
        BadPattern: It is not a regular expression, or takes too long.
    """
    if not pattern or len(pattern) > _MAX_PATTERN_CHARS:
        raise BadPattern(f"A pattern has 1 to {_MAX_PATTERN_CHARS} characters.")
    rows = connection.execute(
        select(pictures.c.id, pictures.c.name)
        .where(pictures.c.project_id == project_id, pictures.c.present)
        .order_by(pictures.c.id)
    ).all()
    try:
        found = match_names(pattern, [row.name[:_MAX_NAME_CHARS] for row in rows])
    except ValueError as error:
        raise BadPattern(f"The pattern is not a regular expression: {error}.") from error
    except TimeoutError as error:
        raise BadPattern(
            f"The pattern takes over {MATCHING_S:g} s on these names: repeats of repeats, such as "
            "(a+)+, are slow."
        ) from error
    groups: dict[str, list[int]] = defaultdict(list)
    unmatched = 0
    for row, group in zip(rows, found, strict=True):
        try:
            groups[checked_name((group or "")[:MAX_LABEL_CHARS], of="a group")].append(row.id)
        except BadName:
            unmatched += 1
    return Grouping(dict(sorted(groups.items())), unmatched)
