"""`train`, `audit`, `jobs`, `cancel`: the queue."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from models.terminal import write_error
from models.text import clean, percent, span
from studio.app import JOBS, open_work
from studio.cli.context import Context, add_common_options, open_context
from studio.jobs.follow import follow
from studio.jobs.options import JobOptions, parse_options
from studio.jobs.queue import (
    Job,
    events_after,
    get_job,
    list_jobs,
    request_cancel,
)
from studio.jobs.supervisor import Supervisor
from studio.runs.start import start_job

_STATUSES: Final = {"done": 0, "failed": 4, "cancelled": 5}


def add_commands(commands: Any) -> None:
    """Declare the commands."""
    train = commands.add_parser(
        "train",
        help="train on a project's pictures, and wait for the run",
        description="The studio's server runs the job if it is running; else this command does.",
    )
    train.add_argument("project")
    train.add_argument("--version", type=int, metavar="N", help="id (default: the present data)")
    for name, field in JobOptions.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.default is False:
            train.add_argument(flag, action="store_true", help=field.description)
        else:
            text = f"{field.description} ({field.default})"
            train.add_argument(flag, help=text.replace("%", "%%"))
    _add_waiting(train)
    train.set_defaults(run=_train)

    audit = commands.add_parser("audit", help="find wrong labels and odd pictures")
    audit.add_argument("project")
    _add_waiting(audit)
    audit.set_defaults(run=_audit)

    jobs = commands.add_parser("jobs", help="list the jobs")
    jobs.add_argument("project", nargs="?", help="of this project only")
    add_common_options(jobs)
    jobs.set_defaults(run=_jobs)

    cancel = commands.add_parser("cancel", help="cancel a job")
    cancel.add_argument("job", type=int)
    add_common_options(cancel)
    cancel.set_defaults(run=_cancel)


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-wait", action="store_true", help="put the job into the queue, and do not wait"
    )
    add_common_options(parser)


def _train(arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name) for name in JobOptions.model_fields}
    options = parse_options({name: value for name, value in given.items() if value is not None})
    return _start(arguments, "fit", options)


def _audit(arguments: argparse.Namespace) -> int:
    return _start(arguments, "audit", JobOptions())


def _start(arguments: argparse.Namespace, kind: Any, options: JobOptions) -> int:
    with open_context(arguments) as studio:
        project = studio.project(arguments.project)
        job = start_job(
            studio.database,
            studio.versions,
            project,
            kind,
            version=getattr(arguments, "version", None),
            options=options,
            by=studio.actor.name,
        )
        studio.record("train" if kind == "fit" else "audit", project, job=job.id)
        if not arguments.no_wait:
            job = _follow(studio, job)
        _write_job(studio, job)
        return _STATUSES.get(job.state, 0)


def _follow(studio: Context, job: Job) -> Job:
    """Wait for the end of a job, and write its steps and messages to standard error."""
    work = open_work(studio.settings, studio.database)
    supervisor = Supervisor(studio.database, studio.settings.data / JOBS, work)
    seen = 0
    for latest in follow(studio.database, supervisor, job.id):
        job = latest
        with studio.database.read() as connection:
            events = events_after(connection, job.id, seen)
        for event in events:
            seen = event["id"]
            if line := _line_of(job, event):
                write_error(clean(line))
    return job


def _line_of(job: Job, event: Mapping[str, Any]) -> str | None:
    match event["event"]:
        case "state":
            return f"job {job.id}: {event['state']}"
        case "step":
            return f"step {event.get('index')} of {event.get('of')}: {event.get('title')}"
        case "log":
            return f"{event.get('level')}: {event.get('message')}"
        case _:
            return None


def _write_job(studio: Context, job: Job) -> None:
    document = {
        "id": job.id,
        "project": job.project,
        "kind": job.kind,
        "state": job.state,
        "version": job.version,
        "result": job.result,
        "error": job.error,
    }
    lines = [f"job {job.id}: {job.state}"]
    if job.error:
        write_error(clean(f"error: {job.error['message']}"))
    result = job.result or {}
    if accuracy := result.get("accuracy"):
        interval = span([accuracy["low"], accuracy["high"]])
        lines = [
            f"run {result['run']}: accuracy {percent(accuracy['value'])} ({interval}), "
            f"model {result['bundle']}"
        ]
    elif "findings" in result:
        lines = [f"job {job.id}: {result['findings']:,} findings"]
    studio.write(document, *lines)


def _jobs(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        project = None if arguments.project is None else studio.project(arguments.project)
        with studio.database.read() as connection:
            found = list_jobs(connection, project=project)
        rows = [
            {"id": job.id, "project": job.project, "kind": job.kind, "state": job.state,
             "created_at": job.created_at, "by": job.by}
            for job in found
        ]  # fmt: skip
        lines = (f"{r['id']:>4}  {r['created_at']}  {r['kind']:<5}  {r['state']}" for r in rows)
        studio.write({"jobs": rows}, *lines)
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        job = request_cancel(studio.database, arguments.job)
        studio.record("cancel", job.project, job=job.id)
        if job.state == "cancelling":  # no server may be running to end it
            job = _follow(studio, job)
        with studio.database.read() as connection:
            job = get_job(connection, job.id)
        _write_job(studio, job)
    return 0
