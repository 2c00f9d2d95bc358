"""`runs`, `compare`, `live`, `promote`, `rollback`: trained models, and the live one."""

import argparse
from typing import Any

from models.text import percent, span
from studio.cli.context import Context, add_common_options, open_context
from studio.live.ledger import history, promote, roll_back
from studio.problems import NotFound
from studio.runs.compare import compare_runs
from studio.runs.runs import find_run, get_run, list_runs, live_version, row_of


def add_commands(commands: Any) -> None:
    """Declare the commands."""
    runs = commands.add_parser("runs", help="list a project's runs with their figures")
    runs.add_argument("project")
    add_common_options(runs)
    runs.set_defaults(run=_runs)

    compare = commands.add_parser("compare", help="compare two runs picture by picture")
    compare.add_argument("a", type=int, help="number of the earlier run")
    compare.add_argument("b", type=int, help="number of the later run")
    add_common_options(compare)
    compare.set_defaults(run=_compare)

    live = commands.add_parser("live", help="show which model is live, and the history")
    add_common_options(live)
    live.set_defaults(run=_live)

    up = commands.add_parser("promote", help="make a run's model live")
    up.add_argument("promoted", metavar="RUN", type=int, help="number of the run")
    up.add_argument("--reason", help="reason; required if the gate is closed (else status 1)")
    add_common_options(up)
    up.set_defaults(run=_promote)

    back = commands.add_parser("rollback", help="make the previous model live again")
    back.add_argument("--reason", help="reason, for the history")
    add_common_options(back)
    back.set_defaults(run=_rollback)


def _runs(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        project = studio.project(arguments.project)
        live = live_version(studio.settings.store)
        with studio.database.read() as connection:
            rows = [row_of(run, live) for run in list_runs(connection, project)]
        studio.write({"runs": rows}, *(_line_of(row) for row in rows))
    return 0


def _line_of(row: dict[str, Any]) -> str:
    accuracy = row.get("accuracy") or {}
    text = "no figures"
    if accuracy.get("low") is not None:
        text = f"{percent(accuracy['value'])} ({span([accuracy['low'], accuracy['high']])})"
    live = "  live" if row["live"] else ""
    return f"{row['id']:>4}  {row['created_at']}  {text}  {row['bundle']}{live}"


def _compare(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio, studio.database.read() as connection:
        old, new = get_run(connection, arguments.a), get_run(connection, arguments.b)
        found = compare_runs(connection, studio.settings.store, old, new)
        data = found["dataset"]
        studio.write(
            found,
            found["paired"]["sentence"],
            f"pictures: {len(data['added']):,} added, {len(data['removed']):,} removed, "
            f"{len(data['relabelled']):,} relabelled",
            *(f"{one['name']}: {one['a']} -> {one['b']}" for one in found["settings"]),
        )
    return 0


def _live(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        version = live_version(studio.settings.store)
        with studio.database.read() as connection:
            run = find_run(connection, version) if version else None
            rows = history(connection)
        shown = f"live: {version or 'no model yet'}" + (f" (run {run.id})" if run else "")
        lines = (
            f"{row['at']}  {row['action']} {row['to']} by {row['by']}"
            + (f": {row['reason']}" if row["reason"] else "")
            for row in rows
        )
        document = {"version": version, "run": run.id if run else None, "history": rows}
        studio.write(document, shown, *lines)
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        with studio.database.read() as connection:
            run = get_run(connection, arguments.promoted)
        _require_store(studio)
        done = promote(
            studio.database,
            studio.settings.store,
            run,
            actor=studio.actor,
            reason=arguments.reason,
        )
        studio.record("promote", run.project, run=run.id)
        studio.write(done, f"live: {done['version']}", done["gate"]["sentence"])
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    with open_context(arguments) as studio:
        _require_store(studio)
        done = roll_back(
            studio.database, studio.settings.store, actor=studio.actor, reason=arguments.reason
        )
        studio.record("rollback", None, to=done["version"])
        studio.write(done, f"live: {done['version']}")
    return 0


def _require_store(studio: Context) -> None:
    if not studio.settings.store.is_dir():
        raise NotFound(f"There is no store {studio.settings.store}: train first.")
