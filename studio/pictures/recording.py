"""Recording of pictures in a project: rows, classes, test sets, and the act of their drop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from uuid import uuid4

from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from models.layout.labels import label_key
from studio.database.database import now
from studio.database.tables import acts, blobs, pictures, test_sets
from studio.labels.acts import Act, Change, checked_uuid, find_act, in_parts, record_act
from studio.labels.classes import insert_class, renamed_since
from studio.labels.findings import Finding
from studio.labels.state import State
from studio.pictures.examine import Examined
from studio.pictures.upload_findings import CONFLICT, copies_of, insert_new_findings
from studio.pictures.upload_plan import PlannedFile
from studio.problems import ActReused, DropUndone
from studio.projects.classes import Classes
from studio.projects.projects import touch_project

Source = Literal["random", "chosen", "reported"]

_MAX_NAME_CHARS: Final = 1000
_IMPORT: Final = "import"


@dataclass(frozen=True)
class Result:
    """Result of one file.

    Attributes:
        path: As given.
        status: `added`, `duplicate` or `refused`.
        sha256: Digest, None if the file was not read.
        reason: One sentence, if it was not added.
        code: Code of the error, if it was refused.
        picture: Id of the picture.
        label: Its label now.
        conflict: True if the project has the same picture under another label.
    """

    path: str
    status: Literal["added", "duplicate", "refused"]
    sha256: str | None = None
    reason: str | None = None
    code: str | None = None
    picture: int | None = None
    label: str | None = None
    conflict: bool = False


@dataclass(frozen=True)
class NewPicture:
    """A picture whose file is stored, to record in a project."""

    file: PlannedFile
    sha256: str
    oddities: Sequence[tuple[str, str]] = ()


def record_blobs(connection: Connection, examined: Sequence[Examined]) -> None:
    """Record the files of pictures that are stored, each once."""
    values = [
        {
            "sha256": one.sha256,
            "bytes": len(one.data),
            "width": one.width,
            "height": one.height,
            "format": one.format,
            "dhash": one.dhash,
            "added_at": now(),
        }
        for one in sorted(examined, key=lambda one: one.sha256)  # one order: no deadlock
    ]
    if values:
        connection.execute(_insert_once(connection, blobs), values)


def _insert_once(connection: Connection, table: Table) -> Any:
    """Return an insert that skips existing rows."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def record_pictures(
    connection: Connection,
    project_id: int,
    new: Sequence[NewPicture],
    *,
    by: str,
    drop: str | None,
    source: Source,
) -> list[Result]:
    """Record pictures in a project, in a transaction that has locked it.

    Raises:
        DropUndone: The drop has been undone; the rest of its files is not added.
        ActReused: The drop's id belongs to another act.
    """
    known = _find_drop(connection, project_id, drop)
    classes, effects = _classes_for(connection, project_id, new, known)
    sets = _test_sets_for(connection, project_id, new)
    rows = _rows_for(connection, project_id, new, sets, source)
    results: list[Result] = []
    changes: dict[int, Change] = {}
    found: list[tuple[int, Finding]] = []
    for one in new:
        row = rows[one.sha256]
        label_id = None if one.file.label is None else classes.id_of(one.file.label)
        state = changes[row.id].state if row.id in changes else State.of(row)
        result, after = _judge(one, row, state, label_id, classes)
        results.append(result)
        if after != state:
            changes[row.id] = Change(row, after)
        if result.conflict:
            found.append((row.id, Finding(one.sha256, CONFLICT, str(result.reason))))
        if result.status == "added":
            found += [(row.id, Finding(one.sha256, *oddity)) for oddity in one.oddities]
    if changes or effects:
        act = _act_of(connection, project_id, known, effects, by=by, drop=drop)
        act.decide(list(changes.values()))
    added = [result.picture for result in results if result.status == "added"]
    found += copies_of(connection, project_id, [id for id in added if id is not None])
    insert_new_findings(connection, project_id, found)
    return results


def _judge(
    one: NewPicture, row: Row[Any], state: State, label_id: int | None, classes: Classes
) -> tuple[Result, State]:
    """Return the result of a picture, and its new state."""
    path = one.file.path
    given = None if label_id is None else classes.names[label_id]
    if not state.present:
        after = State(present=True, class_id=label_id)
        return Result(path, "added", one.sha256, picture=row.id, label=given), after
    label = classes.label(state.class_id, left_out=state.left_out)
    here = f"the same picture as {row.name}"
    if row.test_set_id is not None and one.file.test_set is None:
        reason = f"{here}, which is kept for tests"
    elif row.test_set_id is None and one.file.test_set is not None:
        reason = f"{here}, which is a training picture: it cannot test the model"
    elif label_id in (None, state.class_id):
        reason = here
    elif state.class_id is None and not state.left_out:
        after = replace(state, class_id=label_id)
        reason = f"{here}, which had no label: it is {given} now"
        return (
            Result(path, "duplicate", one.sha256, reason, picture=row.id, label=given),
            after,
        )
    else:
        was = "left out" if state.left_out else f"labelled {label}"
        reason = f"{here}, which is {was}: the same picture cannot be {given}, too"
        return (
            Result(
                path,
                "duplicate",
                one.sha256,
                reason,
                picture=row.id,
                label=label,
                conflict=not state.left_out,
            ),
            state,
        )
    return Result(path, "duplicate", one.sha256, reason, picture=row.id, label=label), state


def _classes_for(
    connection: Connection, project_id: int, new: Sequence[NewPicture], drop: Row[Any] | None
) -> tuple[Classes, list[dict[str, Any]]]:
    """Return the project's classes with those of the new pictures, and the effects of the act.

    A class that was renamed since the drop's first batch is the same class, by its old name, too.
    """
    classes = Classes.of(connection, project_id)
    renamed = {} if drop is None else renamed_since(connection, project_id, drop.id)
    renamed = {key: id for key, id in renamed.items() if id in classes.ids.values()}
    classes = replace(classes, ids={**renamed, **classes.ids})
    names = {label_key(one.file.label): one.file.label for one in new if one.file.label}
    effects = [
        insert_class(connection, project_id, name)
        for key, name in sorted(names.items())
        if key not in classes.ids
    ]
    if effects:
        classes = Classes.of(connection, project_id)
        classes = replace(classes, ids={**renamed, **classes.ids})
    return classes, effects


def _test_sets_for(
    connection: Connection, project_id: int, new: Sequence[NewPicture]
) -> Mapping[str, int]:
    """Return the id of each test set of the new pictures, made where it is missing."""
    names = sorted({one.file.test_set for one in new if one.file.test_set})
    if not names:
        return {}
    connection.execute(
        _insert_once(connection, test_sets),
        [{"project_id": project_id, "name": name, "frozen_at": now()} for name in names],
    )
    rows = connection.execute(
        select(test_sets.c.name, test_sets.c.id).where(test_sets.c.project_id == project_id)
    )
    return {row.name: row.id for row in rows}


def _rows_for(
    connection: Connection,
    project_id: int,
    new: Sequence[NewPicture],
    sets: Mapping[str, int],
    source: Source,
) -> dict[str, Row[Any]]:
    """Return the row of each picture by digest; new ones are inserted, not present yet."""
    wanted = {one.sha256: one for one in reversed(new)}
    rows = _find_rows(connection, project_id, wanted)
    values = [
        {
            "project_id": project_id,
            "sha256": sha256,
            "folder": one.file.label,
            "name": one.file.name[-_MAX_NAME_CHARS:],
            "source": source,
            "test_set_id": sets[one.file.test_set] if one.file.test_set else None,
            "added_at": now(),
        }
        for sha256, one in reversed(wanted.items())
        if sha256 not in rows
    ]
    if values:
        connection.execute(pictures.insert(), values)
        rows = _find_rows(connection, project_id, wanted)
    return rows


def _find_rows(
    connection: Connection, project_id: int, digests: Mapping[str, Any]
) -> dict[str, Row[Any]]:
    rows: dict[str, Row[Any]] = {}
    for part in in_parts(list(digests)):
        found = connection.execute(
            select(pictures).where(pictures.c.project_id == project_id, pictures.c.sha256.in_(part))
        )
        rows |= {row.sha256: row for row in found}
    return rows


def _find_drop(connection: Connection, project_id: int, drop: str | None) -> Row[Any] | None:
    """Return the act that the first batch of a drop has recorded; None before it.

    Raises:
        DropUndone, ActReused: As the names say.
    """
    known = find_act(connection, project_id, checked_uuid(drop)) if drop else None
    if known is None:
        return None
    if known.kind != _IMPORT:
        raise ActReused
    if known.undone_by is not None:
        raise DropUndone
    return known


def _act_of(
    connection: Connection,
    project_id: int,
    known: Row[Any] | None,
    effects: list[dict[str, Any]],
    *,
    by: str,
    drop: str | None,
) -> Act:
    """Return the act of a drop: the one that its first batch recorded, or a new one."""
    if known is None:
        return record_act(
            connection,
            project_id,
            uuid=checked_uuid(drop) if drop else str(uuid4()),
            kind=_IMPORT,
            by=by,
            request=[_IMPORT],
            summary="upload",
            effects=effects,
        )
    connection.execute(
        acts.update().where(acts.c.id == known.id).values(effects=[*known.effects, *effects])
    )
    touch_project(connection, project_id)
    return Act(connection, project_id, known.id)
