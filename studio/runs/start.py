"""Start of a training or an audit: freeze the data, put the job into the queue."""

from typing import Final

from sqlalchemy import Connection, func, select

from studio.database import Database
from studio.database.tables import classes
from studio.jobs.options import JobOptions, Kind
from studio.jobs.queue import Job, add_job, list_jobs
from studio.problems import NothingToTrain
from studio.projects.projects import project_row
from studio.versions.store import VersionStore
from studio.versions.versions import create, version_row

_MIN_CLASSES: Final = 2


def start_job(
    database: Database,
    store: VersionStore,
    project: int,
    kind: Kind,
    *,
    version: int | None,
    options: JobOptions,
    by: str,
) -> Job:
    """Put a job into the queue; a training without a version freezes the present data first.

    An audit that waits already is not repeated.

    Raises:
        NotFound: There is no such project or version.
        NothingToTrain: Fewer than two classes have pictures.
    """
    with database.read() as connection:
        project_row(connection, project)
        if version is not None:
            version_row(connection, project, version)
        if kind == "audit":
            for waiting in list_jobs(connection, project=project, states=("queued",)):
                if waiting.kind == "audit" and waiting.version == version:
                    return waiting
        elif version is None:
            _require_classes(connection, project)
    if kind == "fit" and version is None:
        version = create(database, store, project, by=by, note="for a training").id
    return add_job(database, project, kind, version=version, options=options, by=by)


def _require_classes(connection: Connection, project: int) -> None:
    filled = connection.execute(
        select(func.count()).where(classes.c.project_id == project, classes.c.pictures > 0)
    ).scalar_one()
    if filled < _MIN_CLASSES:
        raise NothingToTrain(
            "Training needs labelled pictures of at least two classes; the project has "
            f"{'one' if filled else 'none'}."
        )
