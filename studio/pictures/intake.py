"""Intake of pictures into a project: examined, stored, recorded; each once, by content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from uuid import uuid4

from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from models.layout.labels import label_key
from models.text import clean
from studio.database import Database
from studio.database.database import now
from studio.database.tables import acts, blobs, findings, pictures, test_sets
from studio.labels.acts import Act, Change, checked_uuid, find_act, in_parts, record_act
from studio.labels.classes import insert_class
from studio.labels.findings import Finding, insert_findings
from studio.labels.state import State
from studio.pictures.blobs import BlobStore
from studio.pictures.drop import DroppedFile
from studio.pictures.examine import Examined, Limits, examine
from studio.pictures.near_copies import find_near_copies
from studio.problems import ActReused
from studio.projects.classes import Classes
from studio.projects.projects import lock_project, touch_project

Source = Literal["random", "chosen", "reported"]

CONFLICT: Final = "conflict"
"""Kind of finding of a picture that was uploaded under two labels."""

COPIES: Final = "copies"
"""Kind of finding of pictures that show nearly the same."""

_MAX_NAME_CHARS: Final = 1000
_IMPORT: Final = "import"


@dataclass(frozen=True)
class IncomingFile:
    """A file to add."""

    file: DroppedFile
    data: bytes


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

    file: DroppedFile
    sha256: str
    oddities: Sequence[tuple[str, str]] = ()


def add_files(
    database: Database,
    store: BlobStore,
    project_id: int,
    files: Sequence[IncomingFile],
    *,
    by: str,
    limits: Limits,
    drop: str | None = None,
    source: Source = "chosen",
) -> list[Result]:
    """Add pictures; on return they and their rows in the database are on disk.

    Args:
        database: The database.
        store: Store of the files.
        project_id: The project.
        files: The files of one batch.
        by: Name of the actor.
        limits: Limits of one file.
        drop: A UUID that all batches of one drop have, to be undone as one act.
        source: How the pictures were found.

    Returns:
        A result per file, in their order.

    Raises:
        NotFound: There is no such project.
        OSError: The disk is full or fails.
    """
    examined = store.decode_each(lambda file: examine(file.data, limits), files)
    good = {one.sha256: one for one in examined if one.fault is None}
    store.add(
        {sha256: one.data for sha256, one in good.items()},
        {sha256: one.thumbnail for sha256, one in good.items()},
    )
    with database.write() as connection:
        lock_project(connection, project_id)
        record_blobs(connection, list(good.values()))
        new = [
            NewPicture(file.file, one.sha256, one.oddities)
            for file, one in zip(files, examined, strict=True)
            if one.fault is None
        ]
        recorded = iter(_record(connection, project_id, new, by=by, drop=drop, source=source))
        return [
            next(recorded) if one.fault is None else refused(file.file.path, one)
            for file, one in zip(files, examined, strict=True)
        ]


def add_known(
    database: Database,
    store: BlobStore,
    project_id: int,
    files: Sequence[tuple[DroppedFile, str]],
    *,
    by: str,
    drop: str | None = None,
) -> tuple[list[Result], list[str]]:
    """Add the pictures whose files are stored already, by their digests.

    Returns:
        A result for each known file, and the digests of the files that are missing.

    Raises:
        NotFound: There is no such project, or a digest is invalid.
    """
    digests = sorted({sha256 for _, sha256 in files})
    with database.write() as connection:
        lock_project(connection, project_id)
        known: set[str] = set()
        for part in in_parts(digests):
            found = connection.execute(select(blobs.c.sha256).where(blobs.c.sha256.in_(part)))
            known |= set(found.scalars())
        known = {sha256 for sha256 in known if store.has(sha256)}
        new = [NewPicture(file, sha256) for file, sha256 in files if sha256 in known]
        results = _record(connection, project_id, new, by=by, drop=drop, source="chosen")
    return results, [sha256 for sha256 in digests if sha256 not in known]


def refused(path: str, examined: Examined) -> Result:
    """Return the result of a file that is not a picture."""
    assert examined.fault is not None
    return Result(
        path,
        "refused",
        examined.sha256,
        clean(str(examined.fault)),
        examined.fault.code,
    )


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


def _record(
    connection: Connection,
    project_id: int,
    new: Sequence[NewPicture],
    *,
    by: str,
    drop: str | None,
    source: Source,
) -> list[Result]:
    """Record pictures in a project, in a transaction that has locked it."""
    classes, effects = _classes_for(connection, project_id, new)
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
        act = _act_of(connection, project_id, effects, by=by, drop=drop)
        act.decide(list(changes.values()))
    added = [result.picture for result in results if result.status == "added"]
    found += _copies_of(connection, project_id, [id for id in added if id is not None])
    _insert_new_findings(connection, project_id, found)
    return results


def _judge(
    one: NewPicture, row: Row[Any], state: State, label_id: int | None, classes: Classes
) -> tuple[Result, State]:
    """Return the result of a picture, and its new state."""
    path, given = one.file.path, one.file.label
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
    connection: Connection, project_id: int, new: Sequence[NewPicture]
) -> tuple[Classes, list[dict[str, Any]]]:
    """Return the project's classes with those of the new pictures, and the effects of the act."""
    classes = Classes.of(connection, project_id)
    names = {label_key(one.file.label): one.file.label for one in new if one.file.label}
    effects = [
        insert_class(connection, project_id, name)
        for key, name in sorted(names.items())
        if key not in classes.ids
    ]
    return (Classes.of(connection, project_id) if effects else classes), effects


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


def _act_of(
    connection: Connection,
    project_id: int,
    effects: list[dict[str, Any]],
    *,
    by: str,
    drop: str | None,
) -> Act:
    """Return the act of a drop: the one that its first batch recorded, or a new one."""
    uuid = checked_uuid(drop) if drop else str(uuid4())
    known = find_act(connection, project_id, uuid)
    if known is None:
        return record_act(
            connection,
            project_id,
            uuid=uuid,
            kind=_IMPORT,
            by=by,
            request=[_IMPORT],
            summary="upload",
            effects=effects,
        )
    if known.kind != _IMPORT or known.undone_by is not None:
        raise ActReused
    connection.execute(
        acts.update().where(acts.c.id == known.id).values(effects=[*known.effects, *effects])
    )
    touch_project(connection, project_id)
    return Act(connection, project_id, known.id)


def _copies_of(
    connection: Connection, project_id: int, added: Sequence[int]
) -> list[tuple[int, Finding]]:
    """Return a finding for each of two pictures that show nearly the same, one of them new."""
    if not added:
        return []
    rows = connection.execute(
        select(pictures.c.id, pictures.c.sha256, pictures.c.name, blobs.c.dhash)
        .join(blobs, blobs.c.sha256 == pictures.c.sha256)
        .where(pictures.c.project_id == project_id, pictures.c.present, blobs.c.dhash.is_not(None))
    )
    known = {row.id: row for row in rows}
    hashes = {id: row.dhash for id, row in known.items()}
    new = {id: hashes[id] for id in added if id in hashes}
    found = []
    for one, other in find_near_copies(new, hashes):
        for id, copy in ((one, other), (other, one)):
            message = f"Nearly the same picture as {known[copy].name}."
            found.append((id, Finding(known[id].sha256, COPIES, message)))
    return found


def _insert_new_findings(
    connection: Connection, project_id: int, found: Sequence[tuple[int, Finding]]
) -> None:
    """Insert findings of an upload, each kind once per picture."""
    if not found:
        return
    known: set[tuple[int, str]] = set()
    for part in in_parts([id for id, _ in found]):
        rows = connection.execute(
            select(findings.c.picture_id, findings.c.kind).where(
                findings.c.picture_id.in_(part), findings.c.job_id.is_(None)
            )
        )
        known |= {(row.picture_id, row.kind) for row in rows}
    unique = {(id, one.kind): (id, one) for id, one in found}
    insert_findings(
        connection, project_id, [value for key, value in unique.items() if key not in known]
    )
