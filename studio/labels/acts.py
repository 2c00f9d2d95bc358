"""Acts: sets of decisions that are made, repeated and undone as one.

Every change of pictures goes through `Act.decide`. It appends one row of `decisions` per picture,
repeats the new state in `pictures`, and keeps the counts, in one transaction.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, bindparam, select

from models.text import clean
from studio.database.database import now
from studio.database.tables import acts, decisions, pictures
from studio.labels.state import Counts, State, add_counts, count, has_label_issue
from studio.problems import ActReused, BadRequest
from studio.projects.projects import touch_project

_ROWS_PER_QUERY: Final = 5_000
_MAX_SUMMARY_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one picture.

    Attributes:
        row: The picture's row of `pictures`, read in this transaction.
        state: Its new state.
        restores: True if an earlier decision, or the state before all, comes into force again.
        restored_id: That decision, None for the state before all.
    """

    row: Row[Any]
    state: State
    restores: bool = False
    restored_id: int | None = None


@dataclass(frozen=True)
class Act:
    """An act that is being recorded."""

    connection: Connection
    project_id: int
    id: int

    def decide(self, changes: Sequence[Change]) -> None:
        """Append decisions, one per picture, and bring pictures and counts up to date."""
        if not changes:
            return
        inserted = self.connection.execute(
            decisions.insert().returning(decisions.c.id, sort_by_parameter_order=True),
            [self._decision(change) for change in changes],
        ).scalars()
        counts = Counts()
        updates = []
        for change, decision_id in zip(changes, inserted, strict=True):
            in_force = change.restored_id if change.restores else decision_id
            in_test_set = change.row.test_set_id is not None
            counts.subtract(
                count(
                    State.of(change.row),
                    in_test_set=in_test_set,
                    has_issue=has_label_issue(change.row, change.row.decision_id),
                )
            )
            counts.update(
                count(
                    change.state,
                    in_test_set=in_test_set,
                    has_issue=has_label_issue(change.row, in_force),
                )
            )
            updates.append(
                {
                    "of": change.row.id,
                    "revision": change.row.revision + 1,
                    "decision_id": in_force,
                    **change.state.columns(),
                }
            )
        self.connection.execute(pictures.update().where(pictures.c.id == bindparam("of")), updates)
        self.connection.execute(
            acts.update()
            .where(acts.c.id == self.id)
            .values(pictures=acts.c.pictures + len(changes))
        )
        add_counts(self.connection, self.project_id, counts)

    def _decision(self, change: Change) -> dict[str, Any]:
        return {
            "act_id": self.id,
            "picture_id": change.row.id,
            "revision": change.row.revision + 1,
            "previous_id": change.row.decision_id,
            "restores": change.restores,
            "restores_id": change.restored_id,
            **change.state.columns(),
        }


def record_act(
    connection: Connection,
    project_id: int,
    *,
    uuid: str,
    kind: str,
    by: str,
    request: Any,
    summary: str,
    effects: Sequence[Mapping[str, Any]] = (),
    undoes: int | None = None,
) -> Act:
    """Record an act, without any decision yet.

    Args:
        connection: A transaction that has locked the project.
        project_id: The project.
        uuid: The act's id, made by the client; a repeated request has the same.
        kind: Its kind, such as `decide` or `undo`.
        by: Name of who acts.
        request: The request as JSON, to distinguish a repeated request from another one.
        summary: One phrase for the history.
        effects: Changes of classes, to undo them: see `studio.labels.classes`.
        undoes: The act that it undoes.
    """
    act_id = connection.execute(
        acts.insert()
        .values(
            project_id=project_id,
            uuid=uuid,
            digest=_digest(request),
            kind=kind,
            by=by,
            at=now(),
            summary=clean(summary)[:_MAX_SUMMARY_CHARS],
            effects=list(effects),
            undoes=undoes,
        )
        .returning(acts.c.id)
    ).scalar_one()
    touch_project(connection, project_id)
    return Act(connection, project_id, act_id)


def set_states(
    connection: Connection,
    project_id: int,
    wanted: Iterable[tuple[Row[Any], State]],
    *,
    kind: str,
    by: str,
    summary: str,
    request: Any = None,
    uuid: str | None = None,
    effects: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Record an act that gives pictures new states, and return how many change.

    Args:
        connection: A transaction that has locked the project.
        project_id: The project.
        wanted: Rows of `pictures`, each with its new state.
        kind: The act's kind.
        by: Name of who acts.
        summary: One phrase for the history, after the number of pictures.
        request: As `record_act`.
        uuid: The act's id, a new one by default.
        effects: As `record_act`.
    """
    changes = [Change(row, state) for row, state in wanted if state != State.of(row)]
    if changes or effects:
        number = "1 picture" if len(changes) == 1 else f"{len(changes):,} pictures"
        record_act(
            connection,
            project_id,
            uuid=uuid or str(uuid4()),
            kind=kind,
            by=by,
            request=request,
            summary=f"{number}: {summary}",
            effects=effects,
        ).decide(changes)
    return len(changes)


def find_act(
    connection: Connection, project_id: int, uuid: str, request: Any = None
) -> Row[Any] | None:
    """Return the row of an act, None if there is no act of that id.

    Args:
        connection: A transaction.
        project_id: The project.
        uuid: The act's id.
        request: The request; an act of that id with another request is refused.

    Raises:
        ActReused: The id belongs to another act.
    """
    row = connection.execute(
        select(acts).where(acts.c.project_id == project_id, acts.c.uuid == uuid)
    ).one_or_none()
    if row is not None and request is not None and row.digest != _digest(request):
        raise ActReused
    return row


def checked_uuid(text: str) -> str:
    """Return a UUID in its canonical spelling.

    Raises:
        BadRequest: It is none.
    """
    try:
        return str(UUID(text))
    except ValueError as error:
        raise BadRequest("An act needs a UUID, made by the client, as its id.") from error


def picture_rows(
    connection: Connection, project_id: int, ids: Iterable[int]
) -> dict[int, Row[Any]]:
    """Return the rows of pictures by id; without those that are not in the project."""
    found: dict[int, Row[Any]] = {}
    for part in in_parts(sorted(set(ids))):
        rows = connection.execute(
            select(pictures).where(pictures.c.project_id == project_id, pictures.c.id.in_(part))
        )
        found |= {row.id: row for row in rows}
    return found


def in_parts(values: Sequence[Any], size: int = _ROWS_PER_QUERY) -> Iterator[Sequence[Any]]:
    """Yield a sequence in parts, each short enough for the parameters of one query."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _digest(request: Any) -> str:
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
