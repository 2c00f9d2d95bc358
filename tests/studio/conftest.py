"""A database of each kind, and a studio's folders."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.database import Database, open_database
from tests.studio.databases import postgresql, postgresql_missing
from tests.studio.workspace import Workspace


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Start one PostgreSQL for all tests; skip where none is installed."""
    if reason := postgresql_missing():
        pytest.skip(reason)
    # A socket's path has at most 107 bytes, and other users must reach it.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    folder.chmod(0o755)
    try:
        with postgresql(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studio.db"
    import psycopg

    url: str = request.getfixturevalue("postgresql_url")
    name = f"t{abs(hash(tmp_path))}"
    with psycopg.connect(url.format(name="postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url.format(name=name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Open an empty, migrated database."""
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def workspace(database: Database, tmp_path: Path) -> Iterator[Workspace]:
    """Make an empty project."""
    made = Workspace.make(database, tmp_path / "data")
    yield made
    made.blobs.close()
