"""`projects`, `import`, `export`, `label`, `version`: pictures, labels and versions."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args
from uuid import uuid4

from models.errors import reason_of
from models.text import clean
from studio.cli.context import Context, add_common_options, open_context
from studio.formats.archive import (
    Summary,
    apply_tables,
    import_zip,
    load_json,
    plan_in_project,
    read_annotations,
    refused_of,
)
from studio.formats.export import Format, write_annotations, write_folder, write_zip
from studio.formats.label_studio import read_label_studio
from studio.formats.matching import apply_values
from studio.pictures.csv_tables import parse_table
from studio.pictures.examine import Limits
from studio.pictures.intake import IncomingFile, add_files
from studio.pictures.recording import Result
from studio.pictures.upload_plan import PlannedFile, Split
from studio.problems import BadRequest, NotFound
from studio.projects.projects import (
    create_project,
    describe_project,
    find_project,
    project_ids,
)
from studio.versions.versions import create, list_versions, version_row

_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 64 * 2**20
_MAX_REASONS: Final = 20


def add_commands(commands: Any) -> None:
    """Declare the commands."""
    projects = commands.add_parser("projects", help="list the projects")
    add_common_options(projects)
    projects.set_defaults(run=_projects)

    load = commands.add_parser("import", help="add a folder, a zip or annotations to a project")
    load.add_argument("project", help="name of the project; a new one is made")
    load.add_argument(
        "source",
        type=Path,
        help="folder or zip with one folder per class, or a JSON file of Label Studio or of IBM's "
        "tools, or a labels.csv",
    )
    load.add_argument(
        "--split",
        choices=get_args(Split),
        help="what to do with train and test folders: leave the test folders out, take all, or "
        "keep them as frozen test sets",
    )
    add_common_options(load)
    load.set_defaults(run=_import)

    export = commands.add_parser("export", help="write a version's pictures or labels")
    export.add_argument("project")
    export.add_argument("target", type=Path, help="new folder, .zip or .json file")
    export.add_argument("--version", type=int, metavar="N", help="id (default: the present data)")
    export.add_argument(
        "--format",
        choices=("folder", *get_args(Format)),
        help="by default a folder, or a zip if TARGET ends in .zip",
    )
    add_common_options(export)
    export.set_defaults(run=_export)

    label = commands.add_parser("label", help="give pictures a label")
    label.add_argument("project")
    label.add_argument(
        "label", help="a class; '-' leaves the pictures out; or a labels.csv, without PICTURE"
    )
    label.add_argument("pictures", nargs="*", metavar="PICTURE", help="names such as mask/a.jpg")
    add_common_options(label)
    label.set_defaults(run=_label)

    version = commands.add_parser("version", help="freeze the present data, or list versions")
    version.add_argument("project")
    version.add_argument("--note", default="", help="note about the version")
    version.add_argument("--list", action="store_true", help="list the versions")
    add_common_options(version)
    version.set_defaults(run=_version)


def _projects(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio, studio.database.read() as connection:
        found = [describe_project(connection, id) for id in project_ids(connection)]
        studio.write(
            {"projects": found},
            *(f"{one['id']:>4}  {one['name']}  {one['counts']['pictures']:,} pictures, "
              f"{one['counts']['unlabelled']:,} unlabelled" for one in found),
        )  # fmt: skip
    return 0


def _import(arguments: argparse.Namespace) -> int:
    source: Path = arguments.source
    if not source.exists():
        raise NotFound(f"There is no file or folder {source}.")
    with open_context(arguments) as studio:
        is_table = source.suffix.lower() in (".json", ".csv")
        project = _project(studio, arguments.project, must_exist=is_table)
        if is_table and source.is_file():
            return _import_labels(studio, project, source)
        if source.is_dir():
            summary = _import_folder(studio, project, source, arguments.split)
        else:
            summary = import_zip(
                studio.database,
                studio.blobs,
                project,
                source,
                by=studio.actor.name,
                limits=_limits(studio),
                max_files=studio.settings.max_archive_files,
                max_bytes=studio.settings.max_archive_bytes,
                split=arguments.split,
            )
        studio.record("import", project, added=summary.counts["added"])
        _write_summary(studio, project, summary)
    return 0


def _project(studio: Context, name: str, *, must_exist: bool) -> int:
    if must_exist:
        return studio.project(name)
    with studio.database.write() as connection:
        found = find_project(connection, name)
        return found if found is not None else create_project(connection, name)


def _import_folder(studio: Context, project: int, source: Path, split: Split | None) -> Summary:
    found = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*"))}
    paths = {name: path for name, path in found.items() if path.is_file()}
    plan = plan_in_project(studio.database, project, list(paths), split)
    summary = Summary()
    for name, path in found.items():
        if name not in paths and (path.is_symlink() or not path.is_dir()):
            summary.add([_refused(name, "neither a file nor a folder, or a link to a folder")])
    summary.add(refused_of(plan))
    drop = str(uuid4())  # one act, to be undone as one
    wanted = [(file, paths[name]) for name, file in plan.files.items()]
    for files in _batches(wanted, studio.settings.max_file_bytes, summary):
        summary.add(
            add_files(
                studio.database,
                studio.blobs,
                project,
                files,
                by=studio.actor.name,
                limits=_limits(studio),
                drop=drop,
            )
        )
    apply_tables(
        studio.database,
        project,
        plan.tables,
        lambda name: paths[name].read_bytes(),
        summary,
        by=studio.actor.name,
    )
    return summary


def _batches(
    wanted: Sequence[tuple[PlannedFile, Path]], max_file_bytes: int, summary: Summary
) -> Iterator[list[IncomingFile]]:
    """Yield the files in batches; those that cannot be read go into the summary."""
    batch: list[IncomingFile] = []
    size = 0
    for file, path in wanted:
        try:
            if path.stat().st_size > max_file_bytes:
                reason = f"The file is larger than the {max_file_bytes:,} bytes allowed."
                summary.add([_refused(file.path, reason)])
                continue
            batch.append(IncomingFile(file, path.read_bytes()))
        except OSError as error:
            summary.add([_refused(file.path, f"it cannot be read ({reason_of(error)})")])
            continue
        size += len(batch[-1].data)
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _refused(path: str, reason: str) -> Result:
    return Result(clean(path), "refused", reason=reason, code="unreadable")


def _limits(studio: Context) -> Limits:
    settings = studio.settings
    return Limits(settings.max_file_bytes, settings.max_pixels, settings.decode_s)


def _write_summary(studio: Context, project: int, summary: Summary) -> None:
    refused = [
        {"path": clean(one.path), "reason": one.reason, "code": one.code}
        for one in summary.results
        if one.status == "refused"
    ]
    document = {
        "project": project,
        "added": summary.counts["added"],
        "duplicates": summary.counts["duplicate"],
        "refused": refused,
        "tables": {name: applied.to_json() for name, applied in summary.tables.items()},
    }
    lines = [f"project {project}: {document['added']:,} added, {document['duplicates']:,} there "
             f"already, {len(refused):,} refused"]  # fmt: skip
    lines += [f"refused: {one['path']}: {one['reason']}" for one in refused[:_MAX_REASONS]]
    if len(refused) > _MAX_REASONS:
        lines.append(f"... and {len(refused) - _MAX_REASONS:,} more (--json lists them)")
    lines += [f"{name}: {applied.changed:,} pictures changed, {len(applied.unmatched):,} rows "
              "name no picture" for name, applied in summary.tables.items()]  # fmt: skip
    studio.write(document, *lines)


def _import_labels(studio: Context, project: int, source: Path) -> int:
    data = _read(source)
    if source.suffix.lower() == ".csv":
        values: Mapping[str, str | None] = parse_table(data, "labels")
    else:
        document = load_json(data)
        # Label Studio exports a list of tasks, IBM's tools one object.
        is_list = isinstance(document, list)
        values = read_label_studio(document) if is_list else read_annotations(data)
    return _apply(studio, project, values, source.name, "import")


def _apply(
    studio: Context, project: int, values: Mapping[str, str | None], source: str, command: str
) -> int:
    applied = apply_values(
        studio.database, project, "labels", values, by=studio.actor.name, source=source
    )
    studio.record(command, project, changed=applied.changed)
    studio.write(
        applied.to_json(),
        f"{applied.changed:,} of {applied.rows:,} pictures changed",
        *(f"no picture, or several: {name}" for name in applied.unmatched[:_MAX_REASONS]),
        *(f"refused: {name}: {reason}" for name, reason in applied.refused[:_MAX_REASONS]),
    )
    return 1 if applied.unmatched or applied.refused else 0


def _label(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        project = studio.project(arguments.project)
        if arguments.pictures:
            values = dict.fromkeys(arguments.pictures, arguments.label)
            return _apply(studio, project, values, "the command line", "label")
        table = Path(arguments.label)
        if not table.is_file():
            raise BadRequest("Name pictures after the label, or give a labels.csv alone.")
        return _apply(studio, project, parse_table(_read(table), "labels"), table.name, "label")


def _version(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        project = studio.project(arguments.project)
        if arguments.list:
            with studio.database.read() as connection:
                found = list_versions(connection, project)
            lines = (_line_of(one) for one in found)
            studio.write({"versions": found}, *lines)
            return 0
        made = create(
            studio.database, studio.versions, project, by=studio.actor.name, note=arguments.note
        )
        studio.record("version", project, version=made.id)
        studio.write(
            {"id": made.id, "number": made.number, "digest": made.digest, "created": made.created},
            f"version {made.number} (id {made.id}){'' if made.created else ': there already'}",
        )
    return 0


def _line_of(version: Mapping[str, Any]) -> str:
    note = f"  {version['note']}" if version["note"] else ""
    return (
        f"{version['id']:>4}  {version['created_at']}  {version['pictures']:,} pictures  "
        f"by {version['by']}{note}"
    )


def _export(arguments: argparse.Namespace) -> int:
    target: Path = arguments.target
    form: Any = arguments.format or ("zip" if target.suffix.lower() == ".zip" else "folder")
    if target.exists() and not (form == "folder" and target.is_dir() and not any(target.iterdir())):
        raise BadRequest(f"{target} is there already: name a new file or folder.")
    with open_context(arguments) as studio:
        project = studio.project(arguments.project)
        version = arguments.version
        if version is None:
            version = create(
                studio.database,
                studio.versions,
                project,
                by=studio.actor.name,
                note="for an export",
            ).id
        with studio.database.read() as connection:
            manifest = studio.versions.read(version_row(connection, project, version).digest)
        if form == "folder":
            target.mkdir(parents=True, exist_ok=True)
            write_folder(manifest, studio.blobs, target)
        elif form == "zip":
            with open(target, "xb") as file:
                write_zip(manifest, studio.blobs, file)
        else:
            target.write_bytes(write_annotations(manifest, form))
        count = len(manifest.entries)
        studio.write(
            {"version": version, "pictures": count, "target": str(target)},
            f"version {version}: {count:,} pictures in {target}",
        )
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read ({reason_of(error)}).") from error
