"""Intake of pictures into a project: examined, stored, recorded; each once, by content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from models.text import clean
from studio.database import Database
from studio.database.tables import blobs
from studio.labels.acts import in_parts
from studio.pictures.blobs import BlobStore
from studio.pictures.examine import Examined, Limits, examine
from studio.pictures.recording import (
    NewPicture,
    Result,
    Source,
    record_blobs,
    record_pictures,
)
from studio.pictures.upload_plan import PlannedFile
from studio.projects.projects import lock_project


@dataclass(frozen=True)
class IncomingFile:
    """A file to add."""

    file: PlannedFile
    data: bytes


def add_files(
    database: Database,
    store: BlobStore,
    project_id: int,
    files: Sequence[IncomingFile],
    *,
    by: str,
    limits: Limits,
    drop: str | None = None,
    source: Source = "chosen",
) -> list[Result]:
    """Add pictures; on return they and their rows in the database are on disk.

    Args:
        database: The database.
        store: Store of the files.
        project_id: The project.
        files: The files of one batch.
        by: Name of the actor.
        limits: Limits of one file.
        drop: A UUID that all batches of one drop have, to be undone as one act.
        source: How the pictures were found.

    Returns:
        A result per file, in their order.

    Raises:
        NotFound: There is no such project.
        OSError: The disk is full or fails.
    """
    examined = store.decode_each(lambda file: examine(file.data, limits), files)
    good = {one.sha256: one for one in examined if one.fault is None}
    _store(store, good)
    with database.write() as connection:
        lock_project(connection, project_id)
        # A project that held the same picture may have been removed meanwhile, with its files.
        _store(store, {sha256: one for sha256, one in good.items() if not store.has(sha256)})
        record_blobs(connection, list(good.values()))
        new = [
            NewPicture(file.file, one.sha256, one.oddities)
            for file, one in zip(files, examined, strict=True)
            if one.fault is None
        ]
        recorded = iter(
            record_pictures(connection, project_id, new, by=by, drop=drop, source=source)
        )
        return [
            next(recorded) if one.fault is None else refused(file.file.path, one)
            for file, one in zip(files, examined, strict=True)
        ]


def add_known(
    database: Database,
    store: BlobStore,
    project_id: int,
    files: Sequence[tuple[PlannedFile, str]],
    *,
    by: str,
    drop: str | None = None,
) -> tuple[list[Result], list[str]]:
    """Add the pictures whose files are stored already, by their digests.

    Returns:
        A result for each known file, and the digests of the files that are missing.

    Raises:
        NotFound: There is no such project, or a digest is invalid.
    """
    digests = sorted({sha256 for _, sha256 in files})
    with database.write() as connection:
        lock_project(connection, project_id)
        known: set[str] = set()
        for part in in_parts(digests):
            found = connection.execute(select(blobs.c.sha256).where(blobs.c.sha256.in_(part)))
            known |= set(found.scalars())
        known = {sha256 for sha256 in known if store.has(sha256)}
        new = [NewPicture(file, sha256) for file, sha256 in files if sha256 in known]
        results = record_pictures(connection, project_id, new, by=by, drop=drop, source="chosen")
    return results, [sha256 for sha256 in digests if sha256 not in known]


def _store(store: BlobStore, good: Mapping[str, Examined]) -> None:
    store.add(
        {sha256: one.data for sha256, one in good.items()},
        {sha256: one.thumbnail for sha256, one in good.items()},
    )


def refused(path: str, examined: Examined) -> Result:
    """Return the result of a file that is not a picture."""
    assert examined.fault is not None
    return Result(
        path,
        "refused",
        examined.sha256,
        clean(str(examined.fault)),
        examined.fault.code,
    )
