"""Projects: create, rename, remove, and their stored counts."""

from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from models.layout.labels import label_key
from models.text import REPLACEMENT, clean
from studio.database.database import now
from studio.database.tables import classes, findings, pictures, projects
from studio.problems import NotFound, ProjectExists
from studio.projects.names import NO_NAME, checked_name

MAX_ID: Final = 2**31 - 1
"""Largest id that a column holds."""


def is_id(number: int) -> bool:
    """Return True for a number that can be an id; the databases refuse some of the others."""
    return 0 <= number <= MAX_ID


def number_of(text: str) -> int | None:
    """Return the id in a string of decimal digits, None for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):  # Python refuses longer ones
        return None
    number = int(text)
    return number if is_id(number) else None


def create_project(connection: Connection, name: str) -> int:
    """Create a project and return its id.

    Raises:
        BadName: The name cannot be used.
        ProjectExists: Another project has it.
    """
    name = checked_name(name, of="a project")
    _require_free(connection, name)
    project_id: int = connection.execute(
        projects.insert()
        .values(name=name, key=label_key(name), created_at=now())
        .returning(projects.c.id)
    ).scalar_one()
    return project_id


def rename_project(connection: Connection, project_id: int, name: str) -> None:
    """Rename a project.

    Raises:
        NotFound, BadName, ProjectExists: As the names say.
    """
    lock_project(connection, project_id)
    name = checked_name(name, of="a project")
    _require_free(connection, name, except_id=project_id)
    connection.execute(
        projects.update()
        .where(projects.c.id == project_id)
        .values(name=name, key=label_key(name), revision=projects.c.revision + 1)
    )


def remove_project(connection: Connection, project_id: int) -> None:
    """Remove a project; its name is free again, its history is kept.

    Raises:
        NotFound: There is no such project.
    """
    lock_project(connection, project_id)
    connection.execute(
        projects.update()
        .where(projects.c.id == project_id)
        .values(removed_at=now(), key=f"{NO_NAME}{project_id}")
    )


def lock_project(connection: Connection, project_id: int) -> Row[Any]:
    """Return a project's row, locked until the end of the transaction.

    Raises:
        NotFound: There is no such project.
    """
    return _row(connection, project_id, locked=True)


def touch_project(connection: Connection, project_id: int) -> None:
    """Raise a project's revision by one."""
    connection.execute(
        projects.update()
        .where(projects.c.id == project_id)
        .values(revision=projects.c.revision + 1)
    )


def project_row(connection: Connection, project_id: int) -> Row[Any]:
    """Return a project's row.

    Raises:
        NotFound: There is no such project.
    """
    return _row(connection, project_id, locked=False)


def project_ids(connection: Connection) -> list[int]:
    """Return the ids of all projects, the newest first."""
    found = select(projects.c.id).where(projects.c.removed_at.is_(None))
    return list(connection.execute(found.order_by(projects.c.id.desc())).scalars())


def find_project(connection: Connection, name: str) -> int | None:
    """Return the id of the project of a name, None if there is none."""
    key = label_key(name)
    if REPLACEMENT in clean(key):  # no project has it, and a database may refuse to look for it
        return None
    return connection.execute(
        select(projects.c.id).where(projects.c.key == key)
    ).scalar_one_or_none()


def describe_project(connection: Connection, project_id: int) -> dict[str, Any]:
    """Return a project's name, revision, classes and counts.

    Raises:
        NotFound: There is no such project.
    """
    row = project_row(connection, project_id)
    listed = connection.execute(
        select(classes.c.name, classes.c.pictures)
        .where(classes.c.project_id == project_id, ~classes.c.removed)
        .order_by(classes.c.key)
    ).all()
    found = connection.execute(
        select(findings.c.kind, func.count(findings.c.picture_id.distinct()))
        .join(pictures, pictures.c.id == findings.c.picture_id)
        .where(findings.c.project_id == project_id, pictures.c.present, ~pictures.c.left_out)
        .group_by(findings.c.kind)
    ).all()
    labelled = row.pictures - row.unlabelled - row.left_out - row.test
    return {
        "id": row.id,
        "name": row.name,
        "revision": row.revision,
        "created_at": row.created_at,
        "classes": [{"name": one.name, "pictures": one.pictures} for one in listed],
        "counts": {
            "pictures": row.pictures,
            "labelled": labelled,
            "unlabelled": row.unlabelled,
            "left_out": row.left_out,
            "test": row.test,
            "label_issues": row.label_issues,
            "findings": {row[0]: row[1] for row in found} | {"label_issue": row.label_issues},
        },
    }


def _row(connection: Connection, project_id: int, *, locked: bool) -> Row[Any]:
    query = select(projects).where(projects.c.id == project_id, projects.c.removed_at.is_(None))
    found = query.with_for_update() if locked else query
    row = connection.execute(found).one_or_none() if is_id(project_id) else None
    if row is None:
        raise NotFound(f"There is no project {project_id}.")
    return row


def _require_free(connection: Connection, name: str, *, except_id: int | None = None) -> None:
    taken = find_project(connection, name)
    if taken is not None and taken != except_id:
        raise ProjectExists(f"Another project is called {name}.")
