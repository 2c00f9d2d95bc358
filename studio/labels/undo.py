"""Undo of any act, as a further act; undoing an undo does the act again."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, select

from studio.database import Database
from studio.database.tables import acts, decisions
from studio.labels.acts import Change, checked_uuid, find_act, in_parts, picture_rows, record_act
from studio.labels.classes import invert_effects
from studio.labels.decisions import Answer, Saved, answer_of, conflicts_of
from studio.labels.state import ABSENT, State
from studio.problems import CannotUndo, NotFound
from studio.projects.classes import Classes
from studio.projects.projects import lock_project


def undo(database: Database, project_id: int, *, act: str, uuid: str | None, by: str) -> Answer:
    """Undo an act: give each of its pictures the state that it had before.

    A picture that another act, which is not undone, has changed since is a conflict, and stays as
    it is. A repeated undo of one id changes nothing.

    Args:
        database: The database.
        project_id: The project.
        act: Id of the act to undo.
        uuid: Id of this act, made by the client; a new one by default.
        by: Name of who acts.

    Raises:
        NotFound: There is no such project or act.
        CannotUndo: It is undone already, or a class that it made or renamed has changed since.
    """
    target_uuid, uuid = checked_uuid(act), checked_uuid(uuid or str(uuid4()))
    request = ["undo", target_uuid]
    with database.write() as connection:
        lock_project(connection, project_id)
        target = find_act(connection, project_id, target_uuid)
        if target is None:
            raise NotFound(f"There is no act {target_uuid}.")
        done = list(_decisions_of(connection, target.id))
        if (known := find_act(connection, project_id, uuid, request)) is not None:
            return answer_of(connection, project_id, known.id, [one.picture_id for one in done])
        if target.undone_by is not None:
            raise CannotUndo("This act is undone already.")
        rows = picture_rows(connection, project_id, (one.picture_id for one in done))
        states = _states(connection, [one.previous_id for one in done])
        changes: list[Change] = []
        refused: list[int] = []
        for one in done:
            row = rows[one.picture_id]
            in_force = one.restores_id if one.restores else one.id
            if row.decision_id != in_force:
                refused.append(row.id)
                continue
            changes.append(
                Change(row, states[one.previous_id], restores=True, restored_id=one.previous_id)
            )
        classes = Classes.of(connection, project_id)
        conflicts = conflicts_of(connection, project_id, refused, classes)
        if done and not changes:
            return Answer([], conflicts)
        recorded = record_act(
            connection,
            project_id,
            uuid=uuid,
            kind="undo",
            by=by,
            request=request,
            summary=f"undone: {target.summary}",
            undoes=target.id,
        )
        recorded.decide(changes)
        # Undo of an act on pictures may keep its classes; one on classes alone succeeds or fails.
        effects = invert_effects(connection, project_id, target.effects, required=not done)
        connection.execute(acts.update().where(acts.c.id == recorded.id).values(effects=effects))
        _mark_undone(connection, target, by_id=recorded.id)
        classes = Classes.of(connection, project_id)
        _require_classes(changes, classes)
        saved = [
            Saved(
                change.row.id,
                classes.label(change.state.class_id, left_out=change.state.left_out),
                change.row.revision + 1,
            )
            for change in changes
        ]
        return Answer(saved, conflicts)


def _decisions_of(connection: Connection, act_id: int) -> Iterator[Row[Any]]:
    yield from connection.execute(
        select(decisions).where(decisions.c.act_id == act_id).order_by(decisions.c.id)
    ).all()


def _states(connection: Connection, ids: list[int | None]) -> dict[int | None, State]:
    """Return the state that each decision put in force."""
    states: dict[int | None, State] = {None: ABSENT}
    for part in in_parts(sorted({id for id in ids if id is not None})):
        rows = connection.execute(select(decisions).where(decisions.c.id.in_(part)))
        states |= {row.id: State.of(row) for row in rows}
    return states


def _require_classes(changes: Iterable[Change], classes: Classes) -> None:
    """Raise if a picture would have a class that is removed."""
    held = {change.state.class_id for change in changes if change.state.present} - {None}
    for class_id in held - set(classes.ids.values()):
        assert class_id is not None
        raise CannotUndo(f"The class {classes.names[class_id]} is removed: add it again first.")


def _mark_undone(connection: Connection, act: Row[Any], *, by_id: int | None) -> None:
    """Mark an act as undone, or as in force again; the act that it had undone follows."""
    connection.execute(acts.update().where(acts.c.id == act.id).values(undone_by=by_id))
    if act.undoes is not None:
        undone = connection.execute(select(acts).where(acts.c.id == act.undoes)).one()
        _mark_undone(connection, undone, by_id=act.id if by_id is None else None)
