"""Connections to the database: SQLite in WAL mode, or PostgreSQL by URL.

Reads run beside the writer. Writes are short transactions, one at a time per process: SQLite takes
its lock when a transaction begins, never in its middle, so that none fails halfway.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
)

from studio.database.migrate import begin_write, migrate
from studio.problems import DatabaseUnusable

_BUSY_TIMEOUT_S: Final = 30.0  # max wait for another process's write
_POOL_SIZE: Final = 16
_EXTRA_CONNECTIONS: Final = 48  # the web server has 40 threads


class Database:
    """A migrated database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite."""
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and changes nothing.

        Raises:
            DatabaseUnusable: The database does not answer.
        """
        with _usable(), self.engine.connect() as connection:
            if self.is_sqlite:  # a transaction sees one state anyway
                yield connection
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end, or rolled back by an error.

        Raises:
            DatabaseUnusable: The database does not answer, or the disk is full.
        """
        with _usable(), self._writer, begin_write(self.engine) as connection:
            yield connection

    def snapshot(self, path: Path) -> None:
        """Copy an SQLite database into a new file, while others read and write it.

        Raises:
            DatabaseUnusable: The database is PostgreSQL, which has `pg_dump`.
        """
        if not self.is_sqlite:
            raise DatabaseUnusable("A snapshot of PostgreSQL is made by its own pg_dump.")
        with self.read() as connection, contextlib.closing(sqlite3.connect(path)) as target:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            source.backup(target)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database and bring its tables up to date.

    Args:
        url: Such as `sqlite:///studio-data/studio.db` or `postgresql+psycopg://user@host/name`;
            `postgresql://` uses psycopg, too.

    Raises:
        DatabaseUnusable: The address is wrong, the database does not answer, or it belongs to a
            newer release.
    """
    try:
        address = make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if address.drivername not in ("sqlite", "postgresql+psycopg"):
            raise DatabaseUnusable(
                f"{address.drivername}: the studio keeps its data in SQLite (sqlite:///FILE) or "
                "PostgreSQL (postgresql://USER@HOST/NAME)."
            )
        if address.drivername == "sqlite":
            if not address.database or address.database == ":memory:":
                raise DatabaseUnusable("An SQLite database needs a file: sqlite:///FILE.")
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        shown = address.render_as_string(hide_password=True)
        engine = create_engine(address, pool_size=_POOL_SIZE, max_overflow=_EXTRA_CONNECTIONS,
            **({"connect_args": {"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}}
               if address.drivername == "sqlite" else {"pool_pre_ping": True}))  # fmt: skip
    except (ArgumentError, NoSuchModuleError, ValueError, TypeError) as error:
        raise DatabaseUnusable(
            "The database's address is not a URL, or an option in it is not valid."
        ) from error
    except OSError as error:
        raise DatabaseUnusable(f"{url} cannot be made ({error.strerror}).") from error
    if engine.dialect.name == "sqlite":
        _begin_by_sqlalchemy(engine)
    try:
        migrate(engine)
    except BaseException as error:
        engine.dispose()
        if not isinstance(error, DBAPIError | ValueError | TypeError):  # of the URL's options
            raise
        raise DatabaseUnusable(f"{shown} cannot be used ({_reason_of(error)}).") from error
    return Database(engine)


def now() -> str:
    """Return the time in UTC, as the tables hold it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    """Raise `DatabaseUnusable` if the database does not answer, is locked or has no room."""
    try:
        yield
    except DatabaseError as error:
        # SQLite's driver raises the base class for a damaged file; other kinds are faults of ours.
        if not isinstance(error, OperationalError) and type(error) is not DatabaseError:
            raise
        raise DatabaseUnusable(
            f"The database cannot be used now ({_reason_of(error)}): try again."
        ) from error


def _reason_of(error: Exception) -> str:
    """Return a driver's message on one line."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())[:300]


def _begin_by_sqlalchemy(engine: Engine) -> None:
    """Set up SQLite's connections, and begin transactions explicitly.

    Python's driver would begin them at the first change, after the reads: of two writers that have
    both read, one would then fail.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # acknowledged writes survive a power cut
            f"busy_timeout={round(_BUSY_TIMEOUT_S * 1000)}",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-16000",  # 16 MB
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
