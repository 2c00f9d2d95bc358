"""The state of a picture in its project, and its contribution to the stored counts."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection, Row, bindparam

from studio.database.tables import classes, projects

_PROJECT_COUNTS: Final = ("pictures", "unlabelled", "left_out", "label_issues", "test")

Counts = Counter[str | int]
"""Changes of counts: of the project by column, of classes by id."""


@dataclass(frozen=True, slots=True)
class State:
    """State of a picture, as decisions set it.

    Attributes:
        present: False before the picture was added, and after its upload was undone.
        class_id: Its class, None if it has no label; kept while it is left out.
        left_out: True if it takes no part in training.
        group: Name of its group (a person, a video), None without one.
        decided: True if a person, or a table, has decided on the label since its upload.
    """

    present: bool
    class_id: int | None = None
    left_out: bool = False
    group: str | None = None
    decided: bool = False

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Return the state of a row of `pictures` or `decisions`."""
        return cls(row.present, row.class_id, row.left_out, row.group_name, row.decided)

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns."""
        return {
            "present": self.present,
            "class_id": self.class_id,
            "left_out": self.left_out,
            "group_name": self.group,
            "decided": self.decided,
        }


ABSENT: Final = State(present=False)


def count(state: State, *, in_test_set: bool, has_issue: bool) -> Counts:
    """Return the contribution of a picture to the counts."""
    counts: Counts = Counter()
    if not state.present:
        return counts
    counts["pictures"] = 1
    if in_test_set:
        counts["test"] = 1
    elif state.left_out:
        counts["left_out"] = 1
    elif state.class_id is None:
        counts["unlabelled"] = 1
    else:
        counts[state.class_id] = 1
    if has_issue and not state.left_out:
        counts["label_issues"] = 1
    return counts


def has_label_issue(row: Row[Any], decision_id: int | None) -> bool:
    """Return True if a picture's label issue is open once a decision is in force.

    Args:
        row: A row of `pictures`.
        decision_id: The decision in force.
    """
    return row.issue_score is not None and row.issue_decision_id == decision_id


def add_counts(connection: Connection, project_id: int, changes: Counts) -> None:
    """Add to the stored counts of a project and its classes."""
    of_project = {
        name: projects.c[name] + changes[name] for name in _PROJECT_COUNTS if changes[name]
    }
    if of_project:
        connection.execute(projects.update().where(projects.c.id == project_id).values(of_project))
    of_classes = [
        {"of": key, "by": number}
        for key, number in sorted(changes.items(), key=str)
        if isinstance(key, int) and number
    ]
    if of_classes:
        connection.execute(
            classes.update()
            .where(classes.c.id == bindparam("of"))
            .values(pictures=classes.c.pictures + bindparam("by")),
            of_classes,
        )
