"""Names in tables and annotation files, matched with a project's pictures."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Row, select

from models.layout.labels import label_key
from models.text import clean, normalize_name
from studio.database import Database
from studio.database.tables import pictures
from studio.labels.acts import set_states
from studio.labels.classes import insert_class
from studio.labels.state import State
from studio.problems import BadName
from studio.projects.classes import LEFT_OUT, Classes
from studio.projects.names import checked_label, checked_name
from studio.projects.projects import lock_project
from studio.versions.tree import DIGITS

MAX_SHOWN: Final = 1_000
"""Max names without a picture that are listed."""

_AMBIGUOUS: Final = 0  # in place of a picture's id
# Label Studio puts eight digits and a hyphen before the name of an uploaded file.
_UPLOAD_PREFIX: Final = re.compile(r"[0-9a-f]{8}-")
# A picture whose own name could not be used in an export.
_EXPORTED: Final = re.compile(rf"~([0-9a-f]{{{DIGITS}}})(?:\.[^.]*)?$")


@dataclass(frozen=True)
class Applied:
    """Result of applying a table.

    Attributes:
        rows: Number of its rows.
        changed: Number of pictures that have another label or group now.
        unmatched: Names of its rows that name no picture, or several.
        refused: Name and reason of rows whose label or group cannot be used.
    """

    rows: int
    changed: int
    unmatched: list[str]
    refused: list[tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Return it as the page reads it."""
        return {
            "rows": self.rows,
            "changed": self.changed,
            "unmatched": self.unmatched[:MAX_SHOWN],
            "refused": [
                {"path": name, "reason": reason} for name, reason in self.refused[:MAX_SHOWN]
            ],
        }


class Names:
    """Index of a project's pictures by path and by the end of the path."""

    def __init__(self, rows: Sequence[Row[Any]]) -> None:
        """Index pictures.

        Args:
            rows: Rows of `pictures`.
        """
        self._ids: dict[str, int] = {}
        self._endings: dict[str, int] = {}
        self._digests: dict[str, int] = {}
        whole: dict[str, set[int]] = defaultdict(set)
        endings: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            path = f"{row.folder}/{row.name}" if row.folder else row.name
            whole[path].add(row.id)
            whole[row.sha256].add(row.id)
            self._digests[row.sha256[:DIGITS]] = row.id
            parts = path.split("/")
            for start in range(1, len(parts)):
                endings["/".join(parts[start:])].add(row.id)
        for names, found in ((self._ids, whole), (self._endings, endings)):
            for name, ids in found.items():
                names[name] = min(ids) if len(ids) == 1 else _AMBIGUOUS

    def find(self, name: str) -> int | None:
        """Return the picture that a path, or the end of an address, matches; None if ambiguous."""
        parts = clean(normalize("NFC", name)).replace("\\", "/").strip("/").split("/")
        for start in range(len(parts)):
            ending = "/".join(parts[start:])
            for names in (self._ids, self._endings):
                if (id := names.get(ending)) is not None:
                    return id or None
        if match := _EXPORTED.search(parts[-1]):
            return self._digests.get(match[1])
        stripped = _UPLOAD_PREFIX.sub("", parts[-1], count=1)
        return self.find(stripped) if stripped != parts[-1] else None


def name_of_address(address: str) -> str:
    """Return the path of a picture in an address such as `/data/upload/1/3f2a-a%20b.jpg`."""
    try:
        parts = urlsplit(address)
    except ValueError:  # such as an unfinished [::1
        return address
    for field in ("d", "fileuri"):  # Label Studio's local files, and its cloud storage
        if match := re.search(rf"(?:^|&){field}=([^&]*)", parts.query):
            return unquote(match[1])
    return unquote(parts.path)


def apply_values(
    database: Database,
    project_id: int,
    kind: Literal["labels", "groups"],
    values: Mapping[str, str | None],
    *,
    by: str,
    source: str,
) -> Applied:
    """Give pictures the labels or groups of a table, as one act.

    Args:
        database: The database.
        project_id: The project.
        kind: What the values are.
        values: By name: a class or a group; "-" leaves the picture out; "" and None change nothing.
        by: Name of the actor.
        source: Name of the table, for the history.

    Raises:
        NotFound: There is no such project.
    """
    refused: list[tuple[str, str]] = []
    checked: dict[str, str] = {}
    for name, value in values.items():
        try:
            if text := _checked(value or "", kind):
                checked[name] = text
        except BadName as error:
            refused.append((clean(name), str(error)))
    with database.write() as connection:
        lock_project(connection, project_id)
        rows = connection.execute(
            select(pictures).where(pictures.c.project_id == project_id, pictures.c.present)
        ).all()
        names, by_id = Names(rows), {row.id: row for row in rows}
        found = {name: names.find(name) for name in checked}
        unmatched = [clean(name) for name, id in found.items() if id is None]
        matched: dict[int, str] = {}
        for name, id in found.items():
            if id is None:
                continue
            if (known := matched.setdefault(id, checked[name])) != checked[name]:
                refused.append((clean(name), f"another row gives the same picture {known}"))
        effects: list[dict[str, Any]] = []
        if kind == "labels":
            effects = _new_classes(connection, project_id, [*matched.values()])
        classes = Classes.of(connection, project_id)
        wanted = [
            (by_id[id], _with_value(State.of(by_id[id]), kind, value, classes))
            for id, value in matched.items()
        ]
        changed = set_states(
            connection,
            project_id,
            wanted,
            kind="import",
            by=by,
            summary=f"{kind} of {source}",
            effects=effects,
        )
    return Applied(len(values), changed, unmatched, refused)


def _checked(value: str, kind: Literal["labels", "groups"]) -> str:
    """Return a label or a group in its normal spelling.

    Raises:
        BadName: It cannot be used.
    """
    text = normalize_name(value)
    if not text or (kind == "labels" and text == LEFT_OUT):
        return text
    return checked_label(text) if kind == "labels" else checked_name(text, of="a group")


def _new_classes(
    connection: Connection, project_id: int, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Insert the classes that are missing, and return the effects."""
    known = Classes.of(connection, project_id).ids
    new = {label_key(name): name for name in labels if name != LEFT_OUT}
    return [
        insert_class(connection, project_id, name)
        for key, name in sorted(new.items())
        if key not in known
    ]


def _with_value(state: State, kind: str, value: str, classes: Classes) -> State:
    if kind == "groups":
        return replace(state, group=value)
    if value == LEFT_OUT:
        return replace(state, left_out=True, decided=True)
    return replace(state, class_id=classes.id_of(value), left_out=False, decided=True)
