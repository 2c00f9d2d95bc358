"""Versions of a project: make, list, compare, go back."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from models.text import clean
from studio.database import Database
from studio.database.database import now
from studio.database.tables import pictures, test_sets, versions
from studio.labels.acts import set_states
from studio.labels.classes import insert_class
from studio.labels.state import State
from studio.problems import NotFound
from studio.projects.classes import Classes
from studio.projects.projects import is_id, lock_project, project_row
from studio.versions.manifest import Entry, Manifest
from studio.versions.store import VersionStore

MAX_NOTE_CHARS: Final = 500
"""Max characters of a note."""

_MAX_REMEMBERED: Final = 1_000  # counts of changes


@dataclass(frozen=True)
class Version:
    """A version.

    Attributes:
        id: Its id, in all projects.
        number: Its number in its project, from 1.
        digest: SHA-256 of its manifest.
        created: False if a version of the same content existed.
    """

    id: int
    number: int
    digest: str
    created: bool


@dataclass(frozen=True)
class Difference:
    """Pictures, by digest, in which a version differs from an earlier one.

    Attributes:
        added: Only in the later one.
        removed: Only in the earlier one.
        relabelled: Label before and after.
        regrouped: Group before and after.
    """

    added: list[str]
    removed: list[str]
    relabelled: dict[str, tuple[str | None, str | None]]
    regrouped: dict[str, tuple[str | None, str | None]]

    def __len__(self) -> int:
        return len({*self.added, *self.removed, *self.relabelled, *self.regrouped})


def present_manifest(connection: Connection, project_id: int) -> Manifest:
    """Return the manifest of what a project holds now.

    Raises:
        NotFound: There is no such project.
    """
    project_row(connection, project_id)
    classes = Classes.of(connection, project_id)
    sets = {
        row.id: row.name
        for row in connection.execute(select(test_sets).where(test_sets.c.project_id == project_id))
    }
    rows = connection.execute(
        select(
            pictures.c.sha256,
            pictures.c.name,
            pictures.c.class_id,
            pictures.c.left_out,
            pictures.c.group_name,
            pictures.c.test_set_id,
            pictures.c.source,
            pictures.c.decided,
        ).where(pictures.c.project_id == project_id, pictures.c.present)
    )
    return Manifest.of(
        (classes.names[id] for id in classes.ids.values()),
        (
            Entry(
                row.sha256,
                row.name,
                None if row.class_id is None else classes.names[row.class_id],
                row.left_out,
                row.group_name,
                sets.get(row.test_set_id),
                row.source,
                row.decided,
            )
            for row in rows
        ),
    )


def create(
    database: Database, store: VersionStore, project_id: int, *, by: str, note: str = ""
) -> Version:
    """Freeze what a project holds now; the same content as before gives the same version.

    Raises:
        NotFound: There is no such project.
        OSError: The disk is full or fails.
    """
    with database.read() as connection:
        manifest = present_manifest(connection, project_id)
    digest, size = store.write(manifest)  # before its row, so that no row names a missing file
    with database.write() as connection:
        lock_project(connection, project_id)
        known = connection.execute(
            select(versions).where(versions.c.project_id == project_id, versions.c.digest == digest)
        ).one_or_none()
        if known is not None:
            return Version(known.id, known.number, digest, created=False)
        last = connection.execute(
            select(func.max(versions.c.number)).where(versions.c.project_id == project_id)
        ).scalar_one()
        number = (last or 0) + 1
        version_id = connection.execute(
            versions.insert()
            .values(
                project_id=project_id,
                number=number,
                digest=digest,
                created_at=now(),
                by=by,
                note=clean(note)[:MAX_NOTE_CHARS],
                pictures=len(manifest.entries),
                labelled=sum(entry.is_trained_on for entry in manifest.entries),
                bytes=size,
                classes=_counts(manifest),
            )
            .returning(versions.c.id)
        ).scalar_one()
    return Version(version_id, number, digest, created=True)


def version_row(connection: Connection, project_id: int, version_id: int) -> Row[Any]:
    """Return a version's row.

    Raises:
        NotFound: The project has no such version.
    """
    found = select(versions).where(versions.c.project_id == project_id, versions.c.id == version_id)
    are_ids = is_id(project_id) and is_id(version_id)
    row = connection.execute(found).one_or_none() if are_ids else None
    if row is None:
        raise NotFound(f"There is no version {version_id} of project {project_id}.")
    return row


def latest_version(connection: Connection, project_id: int) -> Row[Any] | None:
    """Return the row of a project's newest version, None without one."""
    return connection.execute(
        select(versions)
        .where(versions.c.project_id == project_id)
        .order_by(versions.c.number.desc())
        .limit(1)
    ).one_or_none()


def list_versions(connection: Connection, project_id: int) -> list[dict[str, Any]]:
    """Return a project's versions, the newest first.

    Raises:
        NotFound: There is no such project.
    """
    project_row(connection, project_id)
    rows = connection.execute(
        select(versions)
        .where(versions.c.project_id == project_id)
        .order_by(versions.c.number.desc())
    )
    return [describe_version(row) for row in rows]


def describe_version(row: Row[Any]) -> dict[str, Any]:
    """Return a version as the page reads it."""
    return {
        "id": row.id,
        "number": row.number,
        "digest": row.digest,
        "created_at": row.created_at,
        "by": row.by,
        "note": row.note,
        "pictures": row.pictures,
        "labelled": row.labelled,
        "bytes": row.bytes,
        "classes": row.classes,
    }


def compare(earlier: Manifest, later: Manifest) -> Difference:
    """Return the pictures in which two versions differ."""
    before = {one.sha256: one for one in earlier.entries}
    after = {one.sha256: one for one in later.entries}
    both = [(one, after[sha256]) for sha256, one in before.items() if sha256 in after]
    return Difference(
        added=[sha256 for sha256 in after if sha256 not in before],
        removed=[sha256 for sha256 in before if sha256 not in after],
        relabelled={
            a.sha256: (a.shown_label, b.shown_label)
            for a, b in both
            if a.shown_label != b.shown_label
        },
        regrouped={a.sha256: (a.group, b.group) for a, b in both if a.group != b.group},
    )


def restore(
    database: Database, store: VersionStore, project_id: int, version_id: int, *, by: str
) -> int:
    """Go back to a version, as one act; return how many pictures change.

    Pictures that came later go away, and come back if the act is undone.

    Raises:
        NotFound: The project has no such version, or its manifest is damaged.
    """
    with database.read() as connection:
        row = version_row(connection, project_id, version_id)
    manifest = store.read(row.digest)
    wanted = {one.sha256: one for one in manifest.entries}
    with database.write() as connection:
        lock_project(connection, project_id)
        classes = Classes.of(connection, project_id)
        names = {*manifest.classes, *(one.label for one in manifest.entries if one.label)}
        missing = sorted(set(names) - {classes.names[id] for id in classes.ids.values()})
        effects = [insert_class(connection, project_id, name) for name in missing]
        classes = Classes.of(connection, project_id)
        rows = connection.execute(select(pictures).where(pictures.c.project_id == project_id)).all()
        return set_states(
            connection,
            project_id,
            [(one, _state(wanted.get(one.sha256), State.of(one), classes)) for one in rows],
            kind="restore",
            by=by,
            summary=f"back to version {row.number}",
            effects=effects,
        )


def ids_of(connection: Connection, project_id: int, digests: Iterable[str]) -> dict[str, int]:
    """Return the id of each picture of a project by digest, of those that are known."""
    rows = connection.execute(
        select(pictures.c.sha256, pictures.c.id).where(pictures.c.project_id == project_id)
    )
    wanted = set(digests)
    return {row.sha256: row.id for row in rows if row.sha256 in wanted}


def _state(entry: Entry | None, now_: State, classes: Classes) -> State:
    """Return the state that a version gives a picture."""
    if entry is None:
        return replace(now_, present=False)
    class_id = None if entry.label is None else classes.id_of(entry.label)
    return State(True, class_id, entry.left_out, entry.group, entry.decided)


def _counts(manifest: Manifest) -> list[dict[str, Any]]:
    numbers = Counter(entry.label for entry in manifest.entries if entry.is_trained_on)
    return [{"name": name, "pictures": numbers[name]} for name in manifest.classes]


def count_changes(
    connection: Connection, store: VersionStore, project_id: int, latest: Row[Any] | None
) -> int:
    """Return the number of pictures in which a project differs from a version; all without one.

    The number is remembered until the project's revision changes: a page asks often.

    Raises:
        NotFound: There is no such project.
    """
    project = project_row(connection, project_id)
    if latest is None:
        number: int = project.pictures
        return number
    key = (project_id, project.revision, latest.digest)
    if key not in store.changes:
        if len(store.changes) >= _MAX_REMEMBERED:
            store.changes.clear()
        try:
            earlier = store.read(latest.digest)
        except NotFound:  # a lost file must not hide the project
            return int(project.pictures)
        store.changes[key] = len(compare(earlier, present_manifest(connection, project_id)))
    return store.changes[key]
