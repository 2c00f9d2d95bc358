"""Context of a command: settings, database and files of the studio, and how to print."""

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.terminal import write_line
from models.text import clean
from studio.database import Database, open_database
from studio.database.audit import record
from studio.http.session import system_user
from studio.keys import MAX_NAME_CHARS, Actor, Role
from studio.pictures.blobs import BlobStore
from studio.problems import NotFound
from studio.projects.projects import find_project, number_of, project_ids, project_row
from studio.settings import Settings
from studio.versions.store import VersionStore


@dataclass(frozen=True)
class Context:
    """The studio's data, and the options that all commands have.

    Attributes:
        actor: Person who runs the command; write access to the data folder permits everything.
        as_json: Results are written as JSON, not as text.
    """

    settings: Settings
    database: Database
    blobs: BlobStore
    versions: VersionStore
    actor: Actor
    as_json: bool

    def project(self, name: str) -> int:
        """Return the id of a project by its name or its number.

        Raises:
            NotFound: There is no such project.
        """
        with self.database.read() as connection:
            found = find_project(connection, name)
            if found is not None:
                return found
            if (number := number_of(name)) is not None:
                return int(project_row(connection, number).id)
            names = [project_row(connection, id).name for id in project_ids(connection)]
        known = f"the projects are {', '.join(names)}" if names else "there is none yet"
        raise NotFound(f"There is no project {name!r}: {known}.")

    def record(self, command: str, project: int | None = None, **detail: object) -> None:
        """Record a change in the audit log."""
        record(self.database, self.actor, f"cli {command}", project=project, detail=detail)

    def write(self, document: Any, *lines: str) -> None:
        """Write a result: the document as JSON, or the lines."""
        if self.as_json:
            write_line(json.dumps(document, ensure_ascii=False))
            return
        for line in lines:
            write_line(clean(line))


@contextlib.contextmanager
def open_context(arguments: argparse.Namespace) -> Iterator[Context]:
    """Open the data of the settings.

    Raises:
        ValidationError: A setting is invalid.
        DatabaseUnusable: The database cannot be opened.
    """
    settings = Settings.from_environment()
    settings.data.mkdir(parents=True, exist_ok=True)
    # A command's result is its output; the log is for problems.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    database = open_database(settings.database_url)
    blobs = BlobStore(settings.data)
    name = (arguments.by or system_user()).strip()[:MAX_NAME_CHARS]
    try:
        yield Context(
            settings,
            database,
            blobs,
            VersionStore(settings.data),
            Actor(clean(name), Role.PROMOTE),
            arguments.json,
        )
    finally:
        blobs.close()
        database.close()


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every command."""
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    parser.add_argument(
        "--by", metavar="NAME", help="name for the history (default: the system's user)"
    )
