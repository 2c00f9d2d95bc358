"""Tables of the database, for SQLite and PostgreSQL alike.

Labels are decisions: rows of `decisions` are appended and never changed, and each holds the whole
state of its picture. `pictures` repeats the present state, and counts are maintained beside it, so
that a gallery is one indexed query. Pictures' bytes and manifests are files, not rows.

Times are ISO 8601 in UTC with milliseconds, in text: both databases sort and show them alike.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    return Column(name, ForeignKey(f"{target}.id"), nullable=nullable, index=index)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


projects: Final = Table(
    "projects",
    metadata,
    _id(),
    Column("name", String(200), nullable=False),
    Column("key", String(400), nullable=False, unique=True),  # equal for two spellings of a name
    _count("revision"),  # grows by one with each act
    Column("created_at", String(24), nullable=False),
    Column("removed_at", String(24)),
    # Kept counts, of pictures that are not removed.
    _count("pictures"),
    _count("unlabelled"),
    _count("left_out"),
    _count("label_issues"),
    _count("test"),
)

classes: Final = Table(
    "classes",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("name", String(200), nullable=False),
    Column("key", String(400), nullable=False),
    _flag("removed"),
    _count("pictures"),  # kept: without those that are left out or in a test set
    UniqueConstraint("project_id", "key"),
)

test_sets: Final = Table(
    "test_sets",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("name", String(200), nullable=False),
    Column("frozen_at", String(24), nullable=False),
    UniqueConstraint("project_id", "name"),
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("bytes", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("format", String(16), nullable=False),
    Column("dhash", String(64)),  # difference hash of the picture; none if it shows too little
    Column("added_at", String(24), nullable=False),
)

pictures: Final = Table(
    "pictures",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("sha256", ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("folder", String(200)),  # class folder that it was uploaded in
    Column("name", String(1000), nullable=False),  # path below that folder
    Column("source", String(8), nullable=False, server_default="chosen"),
    _ref("test_set_id", "test_sets", nullable=True),
    Column("added_at", String(24), nullable=False),
    # The present state, from the picture's decision in force.
    _count("revision"),
    Column("decision_id", Integer),
    _flag("present"),
    _ref("class_id", "classes", nullable=True),
    _flag("left_out"),
    _flag("decided"),  # a person, or a table, has decided on the label
    Column("group_name", String(200)),
    # The last audit's label issue; it is open while the decision that it judged is in force.
    Column("issue_score", Float),
    Column("issue_decision_id", Integer),
    Column("suggestion", String(200)),
    Column("suggestion_score", Float),
    UniqueConstraint("project_id", "sha256"),
    CheckConstraint("source IN ('random', 'chosen', 'reported')", name="source"),
    Index("ix_pictures_gallery", "project_id", "present", "class_id", "left_out", "id"),
)

acts: Final = Table(
    "acts",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("uuid", String(36), nullable=False),
    Column("digest", String(64), nullable=False),  # of the request, to recognise a repeated one
    Column("kind", String(16), nullable=False),
    Column("by", String(200), nullable=False),
    Column("at", String(24), nullable=False),
    Column("summary", String(300), nullable=False),
    _count("pictures"),
    Column("effects", JSON, nullable=False),  # changes of classes, before and after
    Column("undoes", ForeignKey("acts.id")),
    Column("undone_by", ForeignKey("acts.id")),
    UniqueConstraint("project_id", "uuid"),
)

decisions: Final = Table(
    "decisions",
    metadata,
    _id(),
    _ref("act_id", "acts", index=True),
    _ref("picture_id", "pictures"),
    Column("revision", Integer, nullable=False),  # of the picture, after this decision
    # The decision in force before, and the one that this one puts in force: itself, or, for an
    # undo, an earlier one. None is the state before the picture was added.
    Column("previous_id", Integer),
    Column("restores_id", Integer),
    _flag("restores"),
    _flag("present"),
    _ref("class_id", "classes", nullable=True),
    _flag("left_out"),
    _flag("decided"),
    Column("group_name", String(200)),
    # Max one decision per revision of a picture.
    UniqueConstraint("picture_id", "revision"),
)

findings: Final = Table(
    "findings",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    _ref("picture_id", "pictures", index=True),
    Column("kind", String(32), nullable=False),
    Column("message", String(500), nullable=False),
    Column("score", Float),
    Column("job_id", Integer),  # None: found at the upload
    Index("ix_findings_kind", "project_id", "kind", "picture_id"),
)

versions: Final = Table(
    "versions",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # of the manifest
    Column("created_at", String(24), nullable=False),
    Column("by", String(200), nullable=False),
    Column("note", String(500), nullable=False, server_default=""),
    _count("pictures"),
    _count("labelled"),
    _count("bytes"),  # of the manifest's file
    Column("classes", JSON, nullable=False),  # names and numbers of pictures
    UniqueConstraint("project_id", "number"),
    UniqueConstraint("project_id", "digest"),
)

jobs: Final = Table(
    "jobs",
    metadata,
    _id(),
    Column("project", ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("version", ForeignKey("versions.id")),
    Column("options", JSON, nullable=False),
    Column("by", String(200), nullable=False),
    Column("created_at", String(24), nullable=False),
    Column("started_at", String(24)),
    Column("ended_at", String(24)),
    Column("pid", Integer),
    Column("pid_started", String(100)),  # distinguishes it from a later process of this pid
    _count("progress_bytes"),  # of the progress file, already stored as events
    _count("attempts"),
    Column("exit_status", Integer),
    Column("error", JSON),
    Column("result", JSON),
)

job_events: Final = Table(
    "job_events",
    metadata,
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("time", String(24), nullable=False),
    Column("event", String(32), nullable=False),
    Column("body", JSON, nullable=False),
)

runs: Final = Table(
    "runs",
    metadata,
    _id(),
    Column("project", ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("job", ForeignKey("jobs.id")),
    Column("version", ForeignKey("versions.id")),
    Column("bundle", String(200), nullable=False, unique=True),
    Column("created_at", String(24), nullable=False),
    Column("by", String(200), nullable=False),
    Column("figures", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
)

# The ledger: appended to, and kept when a run or its project is deleted.
promotions: Final = Table(
    "promotions",
    metadata,
    _id(),
    Column("at", String(24), nullable=False),
    Column("by", String(200), nullable=False),
    Column("action", String(16), nullable=False),
    Column("from_bundle", String(200)),
    Column("to_bundle", String(200), nullable=False),
    Column("run", Integer),
    Column("project", Integer),
    Column("reason", Text),
    _flag("overridden"),
    Column("evidence", JSON),
)

audit_log: Final = Table(
    "audit_log",
    metadata,
    _id(),
    Column("at", String(24), nullable=False),
    Column("by", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(200), nullable=False),
    Column("project", Integer, index=True),
    Column("detail", JSON),
    Column("request_id", String(64)),
)
