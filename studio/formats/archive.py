"""Import of a zip file: its pictures, then its labels.csv, groups.csv and annotations."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from uuid import uuid4

from studio.database import Database
from studio.formats.cloud_annotations import FILE, read_cloud_annotations
from studio.formats.matching import MAX_SHOWN, Applied, apply_values
from studio.pictures.blobs import BlobStore
from studio.pictures.csv_tables import MAX_TABLE_BYTES, TableKind, parse_table
from studio.pictures.examine import Limits
from studio.pictures.intake import IncomingFile, add_files
from studio.pictures.recording import Result
from studio.pictures.upload_plan import Plan, Split, plan_upload
from studio.pictures.zip_file import Entry, PictureZip, batches
from studio.problems import BadTable, StudioError
from studio.projects.classes import Classes
from studio.projects.projects import project_row

_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 64 * 2**20

Read = Callable[[str], bytes]


@dataclass
class Summary:
    """Result of an import of many files.

    Attributes:
        results: A result per file that was not added, and the first results of added ones.
        counts: Number of files by status.
        conflicts: Number of pictures that the project has under another label.
        tables: Result of each table.
    """

    results: list[Result] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    conflicts: int = 0
    tables: dict[str, Applied] = field(default_factory=dict)

    def add(self, results: Sequence[Result]) -> None:
        """Count results, and keep them while there are not too many."""
        self.counts.update(result.status for result in results)
        self.conflicts += sum(result.conflict for result in results)
        for result in results:
            if result.status != "added" or len(self.results) < 10 * MAX_SHOWN:
                self.results.append(result)


def import_zip(
    database: Database,
    store: BlobStore,
    project_id: int,
    path: Path,
    *,
    by: str,
    limits: Limits,
    max_files: int,
    max_bytes: int,
    split: Split | None = None,
    drop: str | None = None,
) -> Summary:
    """Add the pictures of a zip file, in batches, and apply its tables.

    Args:
        database: The database.
        store: Store of the pictures' files.
        project_id: The project.
        path: The zip file.
        by: Name of who acts.
        limits: Limits of one picture.
        max_files: Max number of files.
        max_bytes: Max total of the files' sizes, unpacked.
        split: What to do with splits.
        drop: Id of the act.

    Raises:
        NotFound, BadArchive, TooManyFiles: As the names say.
        OSError: The disk is full or fails.
    """
    archive = PictureZip(path, max_files=max_files, max_bytes=max_bytes)
    drop = drop or str(uuid4())
    summary = Summary()
    try:
        for entry in archive.entries:
            if entry.path is None:
                reason = "its name leads out of the archive"
                summary.add([Result(entry.shown, "refused", reason=reason, code="bad_name")])
        entries = {entry.path: entry for entry in archive.entries if entry.path is not None}
        annotations = [name for name in entries if PurePosixPath(name).name == FILE]
        plan = plan_in_project(
            database, project_id, [name for name in entries if name not in annotations], split
        )
        summary.add(refused_of(plan))
        for batch in batches(
            [entries[name] for name in plan.files], max_files=_BATCH_FILES, max_bytes=_BATCH_BYTES
        ):
            files, faults = _read_batch(archive, batch, plan, limits)
            summary.add(faults)
            if files:
                summary.add(
                    add_files(database, store, project_id, files, by=by, limits=limits, drop=drop)
                )
        tables = [*plan.tables, *annotations]
        apply_tables(
            database,
            project_id,
            tables,
            lambda name: archive.read(entries[name], max_bytes=MAX_TABLE_BYTES),
            summary,
            by=by,
        )
    finally:
        archive.close()
    return summary


def plan_in_project(
    database: Database, project_id: int, paths: Sequence[str], split: Split | None
) -> Plan:
    """Return the plan of a drop into a project.

    Raises:
        NotFound: There is no such project.
    """
    with database.read() as connection:
        project_row(connection, project_id)
        classes = Classes.of(connection, project_id)
    names = [classes.names[id] for id in classes.ids.values()]
    return plan_upload(paths, classes=names, split=split)


def refused_of(plan: Plan) -> list[Result]:
    """Return a result for each file that a plan refuses."""
    return [
        Result(path, "refused", reason=reason, code="not_a_picture")
        for path, reason in plan.refused.items()
    ]


def apply_tables(
    database: Database,
    project_id: int,
    paths: Sequence[str],
    read: Read,
    summary: Summary,
    *,
    by: str,
) -> None:
    """Apply tables and annotations; one that cannot be read is refused, the others are applied.

    Args:
        database: The database.
        project_id: The project.
        paths: Names of the tables.
        read: Returns a file's content, or raises OSError.
        summary: Gets the results.
        by: Name of who acts.
    """
    for path in paths:
        name = PurePosixPath(path.replace("\\", "/")).name.casefold()
        kind: TableKind = "groups" if name == "groups.csv" else "labels"
        try:
            data = read(path)
            values: Mapping[str, str | None]
            values = read_annotations(data) if name == FILE else parse_table(data, kind)
            applied = apply_values(database, project_id, kind, values, by=by, source=name)
            summary.tables[path] = applied
        except StudioError as error:
            summary.add([Result(path, "refused", reason=str(error), code=error.code)])
        except OSError as error:
            summary.add([Result(path, "refused", reason=str(error), code="unreadable")])


def read_annotations(data: bytes) -> dict[str, str | None]:
    """Return label by picture of an `_annotations.json`.

    Raises:
        BadTable: It is not as documented.
    """
    return read_cloud_annotations(load_json(data))


def load_json(data: bytes) -> Any:
    """Return a JSON document.

    Raises:
        BadTable: It is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadTable(f"The file is not JSON ({error}).") from error


def _read_batch(
    archive: PictureZip, batch: Sequence[Entry], plan: Plan, limits: Limits
) -> tuple[list[IncomingFile], list[Result]]:
    """Read files of the archive; return them, and a result for each that cannot be read."""
    files, faults = [], []
    for entry in batch:
        assert entry.path is not None
        try:
            data = archive.read(entry, max_bytes=limits.max_file_bytes)
        except OSError as error:
            faults.append(
                Result(entry.shown, "refused", reason=str(error), code="unreadable_entry")
            )
        else:
            file = replace(plan.files[entry.path], path=entry.shown)
            files.append(IncomingFile(file, data))
    return files, faults
