"""The table of jobs, on each database."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.database import Database
from studio.database.tables import projects
from studio.jobs.options import JobOptions, Kind
from studio.jobs.progress import Event
from studio.jobs.queue import (
    Job,
    add_job,
    change_state,
    events_after,
    get_job,
    last_event,
    list_jobs,
    next_queued,
    position_of,
    request_cancel,
    store_events,
)
from studio.problems import NotFound


@pytest.fixture(autouse=True)
def project(database: Database) -> None:
    """Make project 1."""
    row = {"id": 1, "name": "m", "key": "m", "created_at": "2026-11-22T00:00:00.000Z"}
    with database.write() as connection:
        connection.execute(projects.insert().values(row))


def add(database: Database, kind: Kind = "fit") -> Job:
    return add_job(database, 1, kind, version=None, options=JobOptions(seed=4), by="ann")


def test_job_is_stored_as_it_was_added(database: Database) -> None:
    job = add(database)
    assert (job.state, job.by, job.options.seed, job.attempts) == ("queued", "ann", 4, 0)
    assert (job.mark, job.error, job.result) == (None, None, None)
    with database.read() as connection:
        assert get_job(connection, job.id) == job
        assert list_jobs(connection, project=1) == [job]
        assert list_jobs(connection, states=("done",)) == []
        for missing in (job.id + 1, 2**63):
            with pytest.raises(NotFound):
                get_job(connection, missing)


def test_trainings_wait_before_audits(database: Database) -> None:
    audit, first, second = add(database, "audit"), add(database), add(database)
    with database.read() as connection:
        assert next_queued(connection) == first
        assert [position_of(connection, job) for job in (first, second, audit)] == [0, 1, 2]
    assert change_state(database, first, "running")
    with database.read() as connection:
        assert next_queued(connection) == second
        assert position_of(connection, second) == 1


def test_state_changes_once_from_what_was_seen(database: Database) -> None:
    job = add(database)
    assert change_state(database, job, "running", attempts=1)
    assert not change_state(database, job, "cancelled")  # it is not queued any more
    assert request_cancel(database, job.id).state == "cancelling"
    assert request_cancel(database, job.id).state == "cancelling"
    with database.read() as connection:
        states = [event["state"] for event in events_after(connection, job.id, 0)]
    assert states == ["queued", "running", "cancelling"]


def test_events_are_numbered_without_gap_by_any_number_of_writers(database: Database) -> None:
    job = add(database)

    def store(number: int) -> None:
        event = Event("progress", "2026-11-22T00:00:00.000Z", {"done": number, "text": "é\u2028"})
        store_events(database, job, [event, event], 10 * number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store, range(20)))
    with database.read() as connection:
        events = events_after(connection, job.id, 0)
        assert [event["id"] for event in events] == list(range(1, 42))
        assert sorted(event["done"] for event in events[1:]) == sorted([*range(20), *range(20)])
        assert events_after(connection, job.id, 39) == events[39:]
        last = last_event(connection, job.id, "progress", "finished")
        assert last == events[-1]
        assert last_event(connection, job.id, "finished") is None
