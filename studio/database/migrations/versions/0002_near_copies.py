"""Difference hash of each picture, by which near copies are found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("blobs", sa.Column("dhash", sa.String(length=64), nullable=True))
