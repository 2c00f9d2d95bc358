"""Files of removed projects: deleted, unless another project has the same pictures."""

from sqlalchemy import Connection, select

from studio.database import Database
from studio.database.tables import pictures, projects
from studio.pictures.blobs import BlobStore


def delete_files(database: Database, store: BlobStore) -> int:
    """Delete the files of pictures that only removed projects hold, and return their number.

    Their rows stay: the history names them. Uploads wait meanwhile; one that had found a file there
    looks again in its own transaction, and stores it anew.

    Raises:
        OSError: The disk fails; the next start goes on.
    """
    with database.write() as connection:
        _lock_projects(connection)
        is_removed = projects.c.removed_at.is_not(None)
        of_projects = select(pictures.c.sha256).join(projects)
        unused = connection.execute(
            of_projects.where(is_removed).except_(of_projects.where(~is_removed))
        ).scalars()
        return store.delete(list(unused))


def _lock_projects(connection: Connection) -> None:
    """Lock all projects, in one order, against uploads; SQLite has one writer anyway."""
    connection.execute(
        select(projects.c.id)
        .where(projects.c.removed_at.is_(None))
        .order_by(projects.c.id)
        .with_for_update()
    ).all()
