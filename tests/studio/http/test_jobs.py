"""Jobs over HTTP: start, follow by a stream and by polling, cancel, log."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from studio.database.tables import classes
from studio.jobs.files import progress_file
from studio.jobs.queue import Job
from tests import WAIT_S
from tests.studio.http import serving as serving_module
from tests.studio.http.serving import serving, settings_of
from tests.studio.jobs import fake_training


class FakeWork:
    """Runs the stand-in of the training in one mode."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def prepare(self, job: Job, folder: Path) -> Sequence[str]:
        return [sys.executable, fake_training.__file__, self.mode, progress_file(folder).name]

    def finish(self, job: Job, folder: Path, finished: Mapping[str, Any]) -> dict[str, Any]:
        return {"bundle": finished["version"]}


def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, scene: Any) -> Any:
    monkeypatch.setattr(serving_module, "NoWork", lambda: FakeWork(mode))

    async def run() -> Any:
        async with serving(settings_of(tmp_path)) as (client, app):
            made = (await client.post("/api/projects", json={"name": "masks"})).json()["id"]
            for name in ("mask", "no_mask"):
                await client.post(f"/api/projects/{made}/classes", json={"name": name})
            with app.state.database.write() as connection:
                connection.execute(update(classes).values(pictures=10))
            return await scene(client, app, f"/api/projects/{made}/jobs")

    return asyncio.run(run())


async def start(client: httpx.AsyncClient, path: str) -> int:
    made = await client.post(path, json={"options": {"seed": 3}})
    assert made.status_code == 201, made.text
    document = made.json()
    assert (document["kind"], document["state"]) == ("fit", "queued")
    assert document["options"]["seed"] == 3
    assert document["version"] is not None  # frozen before the job waits
    return int(document["id"])


async def stream(
    client: httpx.AsyncClient, job: int, last: int | None = None, limit: int | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a job; the stream ends with it."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    count = 0
    async with client.stream("GET", f"/api/jobs/{job}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = None
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                number = int(line.removeprefix("id: "))
            elif line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))
                count += 1
                if count == limit:
                    return
        assert number is not None


def test_stream_has_every_event_once_and_ends_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
        job = await start(client, path)
        events = [event async for event in stream(client, job)]
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        assert events[-1]["event"] == "state"
        assert events[-1]["state"] == "done"
        assert {"started", "progress", "finished", "state"} == {event["event"] for event in events}
        again = [event async for event in stream(client, job, last=5)]
        assert again == events[5:]
        polled = (await client.get(f"/api/jobs/{job}/events?after=5")).json()
        assert polled == {"events": events[5:], "state": "done"}
        document = (await client.get(f"/api/jobs/{job}")).json()
        assert (document["state"], document["overall"]) == ("done", 1.0)
        assert document["result"] == {"bundle": "20261122T204207Z-1f0c9a77"}
        log = await client.get(f"/api/jobs/{job}/log")
        assert log.text == "log line\n"
        assert log.headers["content-type"].startswith("text/plain")

    play(tmp_path, monkeypatch, "quick", scene)


def test_running_job_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
        job = await start(client, path)
        second = await start(client, path)
        listed = (await client.get(path)).json()["jobs"]
        assert [one["id"] for one in listed] == [second, job]
        while (await client.get(f"/api/jobs/{job}")).json()["overall"] is None:
            await asyncio.sleep(0.05)
        assert (await client.get(f"/api/jobs/{second}")).json()["position"] == 1
        assert (await client.post(f"/api/jobs/{second}/cancel")).json()["state"] == "cancelled"
        assert (await client.post(f"/api/jobs/{job}/cancel")).json()["state"] == "cancelling"
        while (await client.get(f"/api/jobs/{job}")).json()["state"] != "cancelled":
            await asyncio.sleep(0.05)
        refused = await client.post(f"/api/jobs/{job}/cancel")
        assert (refused.status_code, refused.json()["code"]) == (409, "job_ended")

    play(tmp_path, monkeypatch, "wait", scene)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/api/projects/99/jobs", {}, 404, "not_found"),
        ("{jobs}", {"version": 99}, 404, "not_found"),
        ("{jobs}", {"options": {"views": -1}}, 422, "bad_options"),
        ("{jobs}", {"options": {"out": "/etc"}}, 422, "bad_options"),
        ("{jobs}", {"kind": "rm"}, 400, "bad_request"),
    ],
)
def test_job_that_cannot_be_started(
    path: str,
    body: dict[str, Any],
    status: int,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI, jobs: str) -> None:
        answer = await client.post(path.format(jobs=jobs), json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    play(tmp_path, monkeypatch, "quick", scene)


def test_training_needs_two_classes(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            await client.post("/api/projects", json={"name": "masks"})
            answer = await client.post("/api/projects/1/jobs", json={})
            assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_train")
            assert "at least two classes; the project has none" in answer.json()["detail"]

    asyncio.run(scene())


def test_unknown_job(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            for path in ("", "/events", "/log"):
                assert (await client.get(f"/api/jobs/7{path}")).status_code == 404

    asyncio.run(scene())


def test_options_describe_the_form(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            options = (await client.get("/api/options")).json()["options"]
            assert {option["kind"] for option in options} == {"choice", "number", "switch"}
            assert all(option["title"] and option["help"] for option in options)

    asyncio.run(scene())


def test_a_removed_project_takes_its_jobs_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would hold up those of the others, and nobody could see them."""

    async def scene(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
        running, waiting = await start(client, path), await start(client, path)
        while (await client.get(f"/api/jobs/{running}")).json()["state"] == "queued":
            await asyncio.sleep(0.02)
        assert (await client.delete(path.removesuffix("/jobs"))).status_code == 204
        states = [event["state"] async for event in stream(client, running) if "state" in event]
        assert states == ["queued", "running", "cancelling", "cancelled"]
        assert (await client.get(f"/api/jobs/{waiting}")).json()["state"] == "cancelled"

    play(tmp_path, monkeypatch, "wait", scene)


def test_head_of_a_stream_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
        job = await start(client, path)
        head = await asyncio.wait_for(client.head(f"/api/jobs/{job}/events"), WAIT_S)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
        await client.post(f"/api/jobs/{job}/cancel")

    play(tmp_path, monkeypatch, "wait", scene)


@pytest.mark.parametrize("last", ["9" * 5000, str(10**15), "-1", "x", "\u0663"])
def test_an_odd_last_event_id_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI, path: str) -> None:
        job = await start(client, path)
        await client.post(f"/api/jobs/{job}/cancel")
        headers = {b"Last-Event-ID": last.encode()}
        answer = await client.get(f"/api/jobs/{job}/events", headers=headers)
        assert answer.text.startswith("retry: ")
        assert "id: 1\n" in answer.text

    play(tmp_path, monkeypatch, "wait", scene)
