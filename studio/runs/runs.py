"""The table of runs: one row per model that a training of the studio has made."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from models.bundle.out_of_fold import OUT_OF_FOLD, Answer, read_answers
from models.bundle.store import current_version
from models.errors import NoBundle
from studio.database import Database
from studio.database.database import now
from studio.database.tables import pictures, runs
from studio.problems import NotFound
from studio.projects.projects import is_id, project_row
from studio.runs.figures import sentence_of

_MAX_IDS_PER_QUERY: Final = 900  # older SQLite allows 999 parameters


@dataclass(frozen=True)
class Run:
    """One row of the table.

    Attributes:
        bundle: Version of the model in the store.
        figures: See `studio.runs.figures.figures_of`.
        settings: Settings of the training.
    """

    id: int
    project: int
    job: int | None
    version: int | None
    bundle: str
    by: str
    created_at: str
    figures: dict[str, Any]
    settings: dict[str, Any]


def add_run(
    database: Database,
    *,
    project: int,
    job: int | None,
    version: int | None,
    bundle: str,
    by: str,
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> int:
    """Add a run, or return that of the same bundle: a killed studio may record a job twice."""
    row = {
        "project": project,
        "job": job,
        "version": version,
        "bundle": bundle,
        "by": by,
        "created_at": now(),
        "figures": dict(figures),
        "settings": dict(settings),
    }
    with database.write() as connection:
        known = connection.execute(select(runs.c.id).where(runs.c.bundle == bundle)).scalar()
        if known is not None:
            return int(known)
        query = insert(runs).values(row).returning(runs.c.id)
        return int(connection.execute(query).scalar_one())


def get_run(connection: Connection, number: int) -> Run:
    """Return a run.

    Raises:
        NotFound: There is no run of that number.
    """
    query = select(runs).where(runs.c.id == number)
    row = connection.execute(query).first() if is_id(number) else None
    if row is None:
        raise NotFound(f"There is no run {number}.")
    return _run_of(row)


def find_run(connection: Connection, bundle: str) -> Run | None:
    """Return the run that made a bundle, if the studio has one."""
    row = connection.execute(select(runs).where(runs.c.bundle == bundle)).first()
    return None if row is None else _run_of(row)


def list_runs(connection: Connection, project: int, *, limit: int = 1000) -> list[Run]:
    """Return the runs of a project, the newest first.

    Raises:
        NotFound: There is no such project.
    """
    project_row(connection, project)
    query = select(runs).where(runs.c.project == project).order_by(runs.c.id.desc()).limit(limit)
    return [_run_of(row) for row in connection.execute(query)]


def row_of(run: Run, live: str | None) -> dict[str, Any]:
    """Return a run as the table shows it.

    Args:
        run: The run.
        live: Version of the model that is live.
    """
    details = ("confusion", "pictures_by_class", "threshold", "tests")
    figures = {name: value for name, value in run.figures.items() if name not in details}
    return {
        "id": run.id,
        "project": run.project,
        "job": run.job,
        "version": run.version,
        "bundle": run.bundle,
        "created_at": run.created_at,
        "by": run.by,
        **figures,
        "live": run.bundle == live,
        "plain": sentence_of(run.figures),
    }


def live_version(store: Path) -> str | None:
    """Return the version that is live; None if there is none yet."""
    try:
        return current_version(store)
    except NoBundle:
        return None


def answers_of(store: Path, bundle: str, name: str = OUT_OF_FOLD) -> tuple[Answer, ...] | None:
    """Return the out-of-fold answers of a bundle, or those to test pictures; None without any.

    Raises:
        BundleError: The bundle is gone, or cannot be read.
    """
    return _answers(store / bundle, name)


@functools.lru_cache(maxsize=8)  # bundles never change; 10,000 pictures take some 10 MB
def _answers(path: Path, name: str) -> tuple[Answer, ...] | None:
    found = read_answers(path, name)
    return None if found is None else tuple(found)


def picture_ids(connection: Connection, project: int, digests: Iterable[str]) -> dict[str, int]:
    """Return the ids of a project's pictures by digest; unknown ones are missing."""
    wanted = list(digests)
    found: dict[str, int] = {}
    for start in range(0, len(wanted), _MAX_IDS_PER_QUERY):
        query = select(pictures.c.sha256, pictures.c.id).where(
            pictures.c.project_id == project,
            pictures.c.sha256.in_(wanted[start : start + _MAX_IDS_PER_QUERY]),
        )
        found |= {row.sha256: row.id for row in connection.execute(query)}
    return found


def _run_of(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        project=row.project,
        job=row.job,
        version=row.version,
        bundle=row.bundle,
        by=row.by,
        created_at=row.created_at,
        figures=row.figures,
        settings=row.settings,
    )
