"""The first release's tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _create_projects()
    _create_pictures()
    _create_decisions()
    _create_findings()
    _create_jobs()
    _create_ledgers()


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("removed_at", sa.String(length=24), nullable=True),
        sa.Column("pictures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unlabelled", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("left_out", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("label_issues", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("test", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("key", name=op.f("uq_projects_key")),
    )
    op.create_table(
        "classes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("removed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("pictures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_classes_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classes")),
        sa.UniqueConstraint("project_id", "key", name=op.f("uq_classes_project_id_key")),
    )
    op.create_table(
        "test_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("frozen_at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_test_sets_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_test_sets")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_test_sets_project_id_name")),
    )


def _create_pictures() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("added_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
    )
    op.create_table(
        "pictures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.String(length=200), nullable=True),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("source", sa.String(length=8), server_default="chosen", nullable=False),
        sa.Column("test_set_id", sa.Integer(), nullable=True),
        sa.Column("added_at", sa.String(length=24), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=True),
        sa.Column("present", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=True),
        sa.Column("left_out", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("decided", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("group_name", sa.String(length=200), nullable=True),
        sa.Column("issue_score", sa.Float(), nullable=True),
        sa.Column("issue_decision_id", sa.Integer(), nullable=True),
        sa.Column("suggestion", sa.String(length=200), nullable=True),
        sa.Column("suggestion_score", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "source IN ('random', 'chosen', 'reported')", name=op.f("ck_pictures_source")
        ),
        sa.ForeignKeyConstraint(["class_id"], ["classes.id"], name=op.f("fk_pictures_class_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_pictures_project_id")
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_pictures_sha256")),
        sa.ForeignKeyConstraint(
            ["test_set_id"], ["test_sets.id"], name=op.f("fk_pictures_test_set_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pictures")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_pictures_project_id_sha256")),
    )
    op.create_index(
        "ix_pictures_gallery",
        "pictures",
        ["project_id", "present", "class_id", "left_out", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_pictures_sha256"), "pictures", ["sha256"], unique=False)


def _create_decisions() -> None:
    op.create_table(
        "acts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("summary", sa.String(length=300), nullable=False),
        sa.Column("pictures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("effects", sa.JSON(), nullable=False),
        sa.Column("undoes", sa.Integer(), nullable=True),
        sa.Column("undone_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_acts_project_id")),
        sa.ForeignKeyConstraint(["undoes"], ["acts.id"], name=op.f("fk_acts_undoes")),
        sa.ForeignKeyConstraint(["undone_by"], ["acts.id"], name=op.f("fk_acts_undone_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acts")),
        sa.UniqueConstraint("project_id", "uuid", name=op.f("uq_acts_project_id_uuid")),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("act_id", sa.Integer(), nullable=False),
        sa.Column("picture_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("previous_id", sa.Integer(), nullable=True),
        sa.Column("restores_id", sa.Integer(), nullable=True),
        sa.Column("restores", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("present", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=True),
        sa.Column("left_out", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("decided", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("group_name", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["act_id"], ["acts.id"], name=op.f("fk_decisions_act_id")),
        sa.ForeignKeyConstraint(["class_id"], ["classes.id"], name=op.f("fk_decisions_class_id")),
        sa.ForeignKeyConstraint(
            ["picture_id"], ["pictures.id"], name=op.f("fk_decisions_picture_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint(
            "picture_id", "revision", name=op.f("uq_decisions_picture_id_revision")
        ),
    )
    op.create_index(op.f("ix_decisions_act_id"), "decisions", ["act_id"], unique=False)


def _create_findings() -> None:
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("picture_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(length=500), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["picture_id"], ["pictures.id"], name=op.f("fk_findings_picture_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_findings_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    op.create_index(
        "ix_findings_kind", "findings", ["project_id", "kind", "picture_id"], unique=False
    )
    op.create_index(op.f("ix_findings_picture_id"), "findings", ["picture_id"], unique=False)
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("note", sa.String(length=500), server_default="", nullable=False),
        sa.Column("pictures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("labelled", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_versions_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_versions_project_id_digest")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_versions_project_id_number")),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("started_at", sa.String(length=24), nullable=True),
        sa.Column("ended_at", sa.String(length=24), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("pid_started", sa.String(length=100), nullable=True),
        sa.Column("progress_bytes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name=op.f("fk_jobs_project"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name=op.f("fk_jobs_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_project"), "jobs", ["project"], unique=False)
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    op.create_table(
        "job_events",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.String(length=24), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("fk_job_events_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "id", name=op.f("pk_job_events")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("job", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("bundle", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name=op.f("fk_runs_job")),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name=op.f("fk_runs_project"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["version"], ["versions.id"], name=op.f("fk_runs_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("bundle", name=op.f("uq_runs_bundle")),
    )
    op.create_index(op.f("ix_runs_project"), "runs", ["project"], unique=False)


def _create_ledgers() -> None:
    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("from_bundle", sa.String(length=200), nullable=True),
        sa.Column("to_bundle", sa.String(length=200), nullable=False),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("project", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("overridden", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=200), nullable=False),
        sa.Column("project", sa.Integer(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_project"), "audit_log", ["project"], unique=False)
