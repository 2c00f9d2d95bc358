"""Decisions on labels: compare-and-set by revision, and idempotent."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, and_, select

from studio.database import Database
from studio.database.tables import acts, decisions, pictures
from studio.labels.acts import (
    Change,
    checked_uuid,
    find_act,
    in_parts,
    picture_rows,
    record_act,
)
from studio.labels.state import State
from studio.problems import TooManyFiles
from studio.projects.classes import LEFT_OUT, Classes
from studio.projects.projects import lock_project

MAX_DECISIONS: Final = 20_000
"""Max decisions per act."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A label for a picture.

    Attributes:
        picture: Id of the picture.
        label: A class, "-" to leave the picture out, None for no label.
        revision: The picture's revision that was seen; another one now is a conflict.
    """

    picture: int
    label: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A decision that is on disk."""

    picture: int
    label: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A rejected decision, and the picture's present state.

    Attributes:
        picture: Id of the picture.
        label: Its label now.
        revision: Its revision now; 0 if the project has no such picture.
        by: Name of the last author, None if there is no such picture.
        at: When.
    """

    picture: int
    label: str | None
    revision: int
    by: str | None
    at: str | None


@dataclass(frozen=True)
class Answer:
    """Result of an act: saved decisions, and conflicts."""

    saved: list[Saved]
    conflicts: list[Conflict]


def decide(
    database: Database, project_id: int, *, act: str, wanted: Sequence[Decision], by: str
) -> Answer:
    """Save decisions; one whose picture has changed since the seen revision is a conflict.

    The answer is returned after the commit. A repeated act changes nothing and gets the same
    answer.

    Args:
        database: The database.
        project_id: The project.
        act: A UUID, made by the client.
        wanted: The decisions.
        by: Name of who acts.

    Raises:
        NotFound: There is no such project.
        UnknownClass: A label is not a class of the project; nothing is changed.
        ActReused: The UUID belongs to another act.
        TooManyFiles: There are more than `MAX_DECISIONS`.
    """
    if len(wanted) > MAX_DECISIONS:
        raise TooManyFiles(f"An act may hold {MAX_DECISIONS:,} decisions.")
    uuid = checked_uuid(act)
    request = ["decide", [list(asdict(one).values()) for one in wanted]]
    with database.write() as connection:
        lock_project(connection, project_id)
        classes = Classes.of(connection, project_id)
        if (known := find_act(connection, project_id, uuid, request)) is not None:
            return answer_of(connection, project_id, known.id, [one.picture for one in wanted])
        rows = picture_rows(connection, project_id, (one.picture for one in wanted))
        changes: dict[int, Change] = {}
        refused: list[int] = []
        for one in wanted:
            row = rows.get(one.picture)
            if (
                row is None
                or not row.present
                or row.revision != one.revision
                or one.picture in changes
            ):
                refused.append(one.picture)
                continue
            changes[row.id] = Change(row, _decided(State.of(row), one.label, classes))
        if changes:
            record_act(
                connection,
                project_id,
                uuid=uuid,
                kind="decide",
                by=by,
                request=request,
                summary=_summary(wanted),
            ).decide(list(changes.values()))
        return Answer(
            [
                Saved(
                    id,
                    classes.label(change.state.class_id, left_out=change.state.left_out),
                    change.row.revision + 1,
                )
                for id, change in changes.items()
            ],
            conflicts_of(connection, project_id, refused, classes),
        )


def answer_of(
    connection: Connection, project_id: int, act_id: int, wanted: Iterable[int]
) -> Answer:
    """Return the answer of an act that was recorded before.

    Args:
        connection: A transaction.
        project_id: The project.
        act_id: The act.
        wanted: The pictures of the request.
    """
    classes = Classes.of(connection, project_id)
    saved = [
        Saved(row.picture_id, classes.label(row.class_id, left_out=row.left_out), row.revision)
        for row in connection.execute(
            select(decisions).where(decisions.c.act_id == act_id).order_by(decisions.c.id)
        )
    ]
    done = {one.picture for one in saved}
    refused = [picture for picture in wanted if picture not in done]
    return Answer(saved, conflicts_of(connection, project_id, refused, classes))


def conflicts_of(
    connection: Connection, project_id: int, ids: Sequence[int], classes: Classes
) -> list[Conflict]:
    """Return the present state of pictures, with the last author."""
    found: dict[int, Conflict] = {}
    for part in in_parts(sorted(set(ids))):
        rows = connection.execute(
            select(
                pictures.c.id,
                pictures.c.present,
                pictures.c.class_id,
                pictures.c.left_out,
                pictures.c.revision,
                acts.c.by,
                acts.c.at,
            )
            .join(
                decisions,
                and_(
                    decisions.c.picture_id == pictures.c.id,
                    decisions.c.revision == pictures.c.revision,
                ),
            )
            .join(acts, acts.c.id == decisions.c.act_id)
            .where(pictures.c.project_id == project_id, pictures.c.id.in_(part))
        )
        for row in rows:
            label = classes.label(row.class_id, left_out=row.left_out) if row.present else None
            found[row.id] = Conflict(row.id, label, row.revision, row.by, row.at)
    return [found.get(id, Conflict(id, None, 0, None, None)) for id in dict.fromkeys(ids)]


def _decided(state: State, label: str | None, classes: Classes) -> State:
    """Return the state after a decision.

    Raises:
        UnknownClass: The project has no class of that name.
    """
    if label == LEFT_OUT:
        return replace(state, left_out=True, decided=True)
    class_id = None if label is None else classes.id_of(label)
    return replace(state, class_id=class_id, left_out=False, decided=True)


def _summary(wanted: Sequence[Any]) -> str:
    """Return a phrase such as `3 pictures: mask`."""
    words = {None: "no label", LEFT_OUT: "left out"}
    labels = sorted({words.get(one.label, one.label) for one in wanted})
    pictures_word = "1 picture" if len(wanted) == 1 else f"{len(wanted):,} pictures"
    return f"{pictures_word}: {', '.join(labels)}"
