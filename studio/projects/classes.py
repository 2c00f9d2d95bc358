"""The classes of a project."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, select

from models.layout.labels import label_key
from studio.database.tables import classes
from studio.problems import UnknownClass

LEFT_OUT = "-"
"""Label of a picture that is left out, as in labels.csv."""


@dataclass(frozen=True)
class Classes:
    """Names of a project's classes, and ids by name in any spelling.

    Attributes:
        names: Name by id, of removed classes, too.
        ids: Id by key, of classes that are not removed.
    """

    names: Mapping[int, str]
    ids: Mapping[str, int]

    @classmethod
    def of(cls, connection: Connection, project_id: int) -> Self:
        """Read the classes of a project."""
        rows = connection.execute(
            select(classes.c.id, classes.c.name, classes.c.key, classes.c.removed).where(
                classes.c.project_id == project_id
            )
        ).all()
        return cls(
            names={row.id: row.name for row in rows},
            ids={row.key: row.id for row in rows if not row.removed},
        )

    def id_of(self, name: str) -> int:
        """Return the id of a class.

        Raises:
            UnknownClass: The project has no class of that name.
        """
        found = self.ids.get(label_key(name))
        if found is None:
            known = ", ".join(sorted(self.names[id] for id in self.ids.values())) or "none"
            raise UnknownClass(f"There is no class {name!r}: the classes are {known}.")
        return found

    def label(self, class_id: int | None, *, left_out: bool) -> str | None:
        """Return the label of a picture: a class, "-" if it is left out, None if unlabelled."""
        if left_out:
            return LEFT_OUT
        return None if class_id is None else self.names[class_id]
