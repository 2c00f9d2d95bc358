"""Changes of classes: add, rename, and the undo of both.

An effect on a class is `{"class": id, "removed": [before, after], "name": [before, after]}`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, String, cast, func, literal, select

from models.layout.labels import label_key
from studio.database import Database
from studio.database.tables import acts, classes, pictures
from studio.labels.acts import record_act
from studio.problems import CannotUndo, ClassExists, NotFound
from studio.projects.classes import Classes
from studio.projects.names import NO_NAME, checked_label
from studio.projects.projects import lock_project


def add_class(database: Database, project_id: int, *, name: str, by: str) -> str:
    """Add a class and return its name.

    Raises:
        NotFound, BadName: As the names say.
        ClassExists: The project has it, perhaps in another spelling.
    """
    name = checked_label(name)
    with database.write() as connection:
        lock_project(connection, project_id)
        found = Classes.of(connection, project_id)
        if (known := found.ids.get(label_key(name))) is not None:
            raise ClassExists(f"Another class is called {found.names[known]}.")
        effect = insert_class(connection, project_id, name)
        record_act(
            connection,
            project_id,
            uuid=str(uuid4()),
            kind="class",
            by=by,
            request=None,
            summary=f"new class {name}",
            effects=[effect],
        )
    return name


def rename_class(database: Database, project_id: int, *, name: str, to: str, by: str) -> str:
    """Rename a class and return its new name; its pictures keep it.

    Raises:
        NotFound: There is no such project or class.
        BadName: The new name cannot be used.
        ClassExists: Another class has it.
    """
    to = checked_label(to)
    with database.write() as connection:
        lock_project(connection, project_id)
        found = Classes.of(connection, project_id)
        class_id = found.ids.get(label_key(name))
        if class_id is None:
            raise NotFound(f"There is no class {name!r}.")
        if (known := found.ids.get(label_key(to))) not in (None, class_id):
            raise ClassExists(f"Another class is called {found.names[known]}.")
        before = found.names[class_id]
        _free_key(connection, project_id, label_key(to), except_id=class_id)
        _set_name(connection, class_id, to)
        record_act(
            connection,
            project_id,
            uuid=str(uuid4()),
            kind="class",
            by=by,
            request=None,
            summary=f"class {before} renamed to {to}",
            effects=[{"class": class_id, "name": [before, to]}],
        )
    return to


def insert_class(connection: Connection, project_id: int, name: str) -> dict[str, Any]:
    """Insert a class, or bring a removed one back, and return the effect."""
    key = label_key(name)
    known = connection.execute(
        select(classes).where(classes.c.project_id == project_id, classes.c.key == key)
    ).one_or_none()
    if known is None:
        class_id = connection.execute(
            classes.insert()
            .values(project_id=project_id, name=name, key=key)
            .returning(classes.c.id)
        ).scalar_one()
        return {"class": class_id, "removed": [True, False]}
    connection.execute(
        classes.update().where(classes.c.id == known.id).values(name=name, removed=False)
    )
    return {"class": known.id, "removed": [True, False], "name": [known.name, name]}


def renamed_since(connection: Connection, project_id: int, act_id: int) -> dict[str, int]:
    """Return the id of each class that was renamed after an act, by the key of its old name."""
    later = connection.execute(
        select(acts.c.effects)
        .where(acts.c.project_id == project_id, acts.c.id > act_id)
        .order_by(acts.c.id)
    ).scalars()
    return {
        label_key(effect["name"][0]): effect["class"]
        for effects in later
        for effect in effects
        if "name" in effect
    }


def invert_effects(
    connection: Connection,
    project_id: int,
    effects: Sequence[Mapping[str, Any]],
    *,
    required: bool,
) -> list[dict[str, Any]]:
    """Undo effects on classes, and return the effects of doing so.

    Args:
        connection: A transaction that has locked the project.
        project_id: The project.
        effects: The effects of the act that is being undone.
        required: False to leave a class that is in use by now as it is.

    Raises:
        CannotUndo: A class has changed since.
    """
    inverted = []
    for effect in reversed(effects):
        class_id = effect["class"]
        row = connection.execute(select(classes).where(classes.c.id == class_id)).one()
        fault = _fault(connection, row, effect)
        if fault is None:
            done: dict[str, Any] = {"class": class_id}
            if "name" in effect:
                before, after = effect["name"]
                _free_key(connection, project_id, label_key(before), except_id=class_id)
                _set_name(connection, class_id, before)
                done["name"] = [after, before]
            if "removed" in effect:
                before, after = effect["removed"]
                connection.execute(
                    classes.update().where(classes.c.id == class_id).values(removed=before)
                )
                done["removed"] = [after, before]
            inverted.append(done)
        elif required:
            raise CannotUndo(fault)
    return inverted


def _fault(connection: Connection, row: Any, effect: Mapping[str, Any]) -> str | None:
    """Return the reason why an effect cannot be undone now."""
    if "name" in effect and row.name != effect["name"][1]:
        return f"The class is called {row.name} by now."
    if "removed" in effect:
        before, after = effect["removed"]
        if row.removed != after:
            return f"The class {row.name} has changed since."
        if before and _is_used(connection, row.id):
            return f"The class {row.name} has pictures now: move them first."
    target = effect["name"][0] if "name" in effect else row.name
    other = connection.execute(
        select(classes.c.name).where(
            classes.c.project_id == row.project_id,
            classes.c.key == label_key(target),
            classes.c.id != row.id,
            ~classes.c.removed,
        )
    ).scalar_one_or_none()
    return None if other is None else f"Another class is called {other} by now."


def _is_used(connection: Connection, class_id: int) -> bool:
    found = select(func.count()).where(pictures.c.class_id == class_id, pictures.c.present)
    return connection.execute(found).scalar_one() > 0


def _free_key(connection: Connection, project_id: int, key: str, *, except_id: int) -> None:
    """Take a name away from a removed class."""
    connection.execute(
        classes.update()
        .where(
            classes.c.project_id == project_id,
            classes.c.key == key,
            classes.c.id != except_id,
            classes.c.removed,
        )
        .values(key=literal(NO_NAME) + cast(classes.c.id, String))
    )


def _set_name(connection: Connection, class_id: int, name: str) -> None:
    connection.execute(
        classes.update().where(classes.c.id == class_id).values(name=name, key=label_key(name))
    )
