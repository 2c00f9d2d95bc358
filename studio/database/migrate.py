"""Migrations at the start, one process at a time."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from studio.problems import DatabaseUnusable

_SCRIPTS: Final = Path(__file__).with_name("migrations")
_POSTGRESQL_LOCK: Final = 0x66616365  # an arbitrary number, of this purpose only

log = logging.getLogger("facemask.studio")


def scripts() -> ScriptDirectory:
    """Return the migrations."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; the second of two processes waits for the first.

    Raises:
        DatabaseUnusable: The database has a revision that this release does not know.
    """
    directory = scripts()
    with _locked(engine), begin_write(engine) as connection:
        _upgrade(connection, directory)


@contextlib.contextmanager
def begin_write(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes, and commit it at the end."""
    with engine.connect() as opened:
        connection = opened.execution_options(writes=True)
        with connection.begin():
            yield connection


def _upgrade(connection: Connection, directory: ScriptDirectory) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in directory.walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseUnusable(
            f"The database belongs to a newer release of the studio ({found}): update the studio."
        )
    if found == directory.get_current_head():
        return
    log.info("database: migration from %s to %s", found or "empty", directory.get_current_head())
    environment = EnvironmentContext(
        Config(), directory, fn=lambda revision, _: directory._upgrade_revs("head", revision)
    )
    with environment:
        environment.configure(connection=connection, transactional_ddl=False)
        environment.run_migrations()


@contextlib.contextmanager
def _locked(engine: Engine) -> Iterator[None]:
    """Hold the lock of migrations: a file beside SQLite's, an advisory lock of PostgreSQL."""
    if engine.dialect.name == "sqlite":
        with open(f"{engine.url.database}.lock", "w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _POSTGRESQL_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _POSTGRESQL_LOCK})
