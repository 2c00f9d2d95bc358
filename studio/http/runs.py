"""Runs: table, one run, its report, and two runs compared."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from models.bundle.report_policy import SERVED_REPORT_POLICY
from models.errors import BundleError
from studio.http.state import state_of
from studio.problems import BundleGone, NoReport
from studio.runs.compare import compare_runs, mistakes_of
from studio.runs.figures import read_report
from studio.runs.runs import get_run, list_runs, live_version, row_of

router = APIRouter(tags=["runs"])


@router.get("/api/projects/{project}/runs", summary="Runs of a project")
def runs_of_project(request: Request, project: int) -> dict[str, Any]:
    """Return the project's runs with their figures, the newest first."""
    state = state_of(request)
    live = live_version(state.settings.store)
    with state.database.read() as connection:
        found = list_runs(connection, project)
    return {"runs": [row_of(run, live) for run in found]}


@router.get("/api/runs/{run}", summary="A run")
def one(request: Request, run: int) -> dict[str, Any]:
    """Return a run: figures, settings, confusion, and its mistakes, the surest first."""
    state = state_of(request)
    store = state.settings.store
    with state.database.read() as connection:
        found = get_run(connection, run)
        try:
            mistakes, gone = mistakes_of(connection, store, found), None
        except BundleGone as error:
            mistakes, gone = [], str(error)
    return {
        **row_of(found, live_version(store)),
        **found.figures,
        "settings": [{"name": name, "value": value} for name, value in found.settings.items()],
        "mistakes": [mistake["picture"] for mistake in mistakes],
        "answers": {str(mistake.pop("picture")): mistake for mistake in mistakes},
        "gone": gone,
    }


@router.get("/api/runs/{run}/report", summary="The report of a run", response_class=HTMLResponse)
def report(request: Request, run: int) -> HTMLResponse:
    """Return the page that the training wrote."""
    state = state_of(request)
    with state.database.read() as connection:
        found = get_run(connection, run)
    try:
        page = read_report(state.settings.store / found.bundle)
    except BundleError as error:
        raise BundleGone(f"The model of run {run} cannot be read: {error}") from error
    if page is None:
        raise NoReport(f"The model of run {run} was published without a report.")
    return HTMLResponse(page, headers={"Content-Security-Policy": SERVED_REPORT_POLICY})


@router.get("/api/runs/{a}/compare/{b}", summary="Two runs compared")
def compare(request: Request, a: int, b: int) -> dict[str, Any]:
    """Return what changes from run `a` to run `b`: pictures, paired test, settings, data."""
    state = state_of(request)
    with state.database.read() as connection:
        old, new = get_run(connection, a), get_run(connection, b)
        return compare_runs(connection, state.settings.store, old, new)
