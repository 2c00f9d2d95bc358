"""Opening a database: migrations, other releases, transactions."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from studio.database import Database, open_database
from studio.database.migrate import scripts
from studio.database.tables import metadata, projects
from studio.problems import DatabaseUnusable, ProjectExists
from studio.projects.projects import create_project
from tests import ROOT


def test_the_migrations_make_the_tables(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == scripts().get_current_head()


def test_a_database_is_opened_twice(database: Database, database_url: str) -> None:
    with database.write() as connection:
        create_project(connection, "Masks")
    again = open_database(database_url)
    with again.read() as connection:
        assert connection.execute(select(projects.c.name)).scalars().all() == ["Masks"]
    again.close()


def test_two_processes_migrate_one_after_the_other(database_url: str) -> None:
    code = f"from studio.database import open_database; open_database({database_url!r}).close()"
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]


def test_a_database_of_a_newer_release_is_refused(database: Database, database_url: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnusable, match=r"newer release of the studio \(9999\)"):
        open_database(database_url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "not a URL"),
        ("mysql://host/name", "mysql"),
        ("sqlite://", "needs a file"),
        ("postgresql://studio:secret@127.0.0.1:9/none", "cannot be used"),
        ("postgresql://studio:secret@127.0.0.1:port/none", "not a URL"),
        ("postgresql://studio:secret@127.0.0.1/none?sslmode=odd", "cannot be used"),
        ("sqlite:////tmp?timeout=long", "option in it is not valid"),
        ("sqlite:////tmp/a%00b.db", "cannot be used"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, reason: str) -> None:
    with pytest.raises(DatabaseUnusable, match=reason) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"no database" * 999)
    with pytest.raises(DatabaseUnusable, match="cannot be used"):
        open_database(f"sqlite:///{tmp_path}/studio.db")


def test_an_error_rolls_a_write_back(database: Database) -> None:
    with pytest.raises(ProjectExists), database.write() as connection:
        [create_project(connection, name) for name in ("Masks", "masks")]
    with database.read() as connection:
        assert connection.execute(select(projects)).all() == []


def test_readers_do_not_wait_for_the_writer(database: Database) -> None:
    with database.write() as writer:
        create_project(writer, "Masks")
        with database.read() as connection:
            assert connection.execute(select(projects)).all() == []


def test_writers_wait_for_each_other(database: Database, database_url: str) -> None:
    """Also those of two processes: the second connection has a lock of its own."""
    other = open_database(database_url)

    def create(number: int) -> None:
        with (database if number % 2 else other).write() as connection:
            create_project(connection, f"project {number}")

    threads = [threading.Thread(target=create, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert len(connection.execute(select(projects)).all()) == 20
    other.close()


def test_a_locked_or_full_database_is_an_error_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.database.database._BUSY_TIMEOUT_S", 0.05)
    url = f"sqlite:///{tmp_path}/studio.db"
    one, two = open_database(url), open_database(url)
    with one.write() as connection:
        create_project(connection, "Masks")
        with pytest.raises(DatabaseUnusable, match="locked"), two.write():
            pass
    rows = [{"name": "n" * 200, "key": f"{n}", "created_at": ""} for n in range(5000)]
    with one.read() as connection:  # of the one connection in the pool
        connection.execute(text("PRAGMA max_page_count = 1"))
    with pytest.raises(DatabaseUnusable, match="full"), one.write() as connection:
        connection.execute(projects.insert(), rows)
    with two.read() as connection:
        assert connection.execute(select(projects.c.name)).scalars().all() == ["Masks"]
    one.close()
    two.close()


def test_a_damaged_database_is_an_error_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    opened = open_database(f"sqlite:///{path}")
    opened.engine.dispose()
    with open(path, "r+b") as file:  # a disk that has lost some blocks
        file.seek(4096)
        file.write(b"x" * 40_000)
    with pytest.raises(DatabaseUnusable, match="malformed"), opened.read() as connection:
        connection.execute(select(projects)).all()
    opened.close()


def test_the_studio_imports_no_pytorch() -> None:
    code = (
        "import sys, studio.app\n"
        "print([m for m in ('torch', 'training', 'service') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
