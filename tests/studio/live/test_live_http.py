"""The live model over HTTP, with real services for the live and for a chosen model."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from studio.jobs.process import start_of
from studio.live import candidates as candidates_module
from studio.live.candidates import Candidates
from studio.problems import BundleGone, CandidateFailed, CandidateStarting, StudioError
from tests import WAIT_S
from tests.images import encode, photograph
from tests.studio.http.serving import serving, settings_of
from tests.studio.runs.bundles import answers, publish_run, run_of

FILES = {"files": ("a.png", encode(photograph(seed=4)), "image/png")}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """Start the service on the store, and give its address."""
    (tmp_path / "store").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=os.environ
        | {
            "FACEMASK_STORE": str(tmp_path / "store"),
            "FACEMASK_PORT": "0",
            "FACEMASK_POLL_S": "0.1",
        }
        | {"PYTHONUNBUFFERED": "1", "FACEMASK_GRACE_S": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[2]
    # It listens before it answers, which the studio does not wait for.
    httpx.get(f"{address}/livez", timeout=WAIT_S).raise_for_status()
    yield address
    process.send_signal(signal.SIGTERM)
    process.wait(WAIT_S)
    process.stdout.close()


def play(tmp_path: Path, scene: Any, **options: Any) -> None:
    settings = settings_of(tmp_path, **options)

    async def run() -> None:
        async with serving(settings) as (client, app):
            await client.post("/api/projects", json={"name": "masks"})
            await scene(client, app)

    asyncio.run(run())


async def until_served(client: httpx.AsyncClient, version: str) -> dict[str, Any]:
    until = time.monotonic() + WAIT_S
    while True:
        live: dict[str, Any] = (await client.get("/api/live")).json()
        if live["service"]["version"] == version:
            return live
        assert time.monotonic() < until, live
        await asyncio.sleep(0.1)


async def ask_both(client: httpx.AsyncClient, run: int) -> dict[str, Any]:
    """Ask until the chosen model is loaded: on a busy machine it takes longer than a request."""
    while True:
        both: dict[str, Any] = (
            await client.post(f"/api/live/predict?run={run}", files=FILES)
        ).json()
        if (both["error_chosen"] or {}).get("code") != "candidate_starting":
            return both
        assert both["live"] is not None


def test_a_model_that_answers_many_fewer_pictures_needs_a_reason(
    tmp_path: Path, service: str
) -> None:
    store = tmp_path / "store"
    sure = answers(200)
    unsure = [
        answer._replace(probabilities=dict.fromkeys(answer.probabilities, 0.5))
        if number < 60
        else answer
        for number, answer in enumerate(sure)
    ]
    first, second = publish_run(store, sure, live=True), publish_run(store, unsure)

    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        run_of(app.state.database, store, 1, first)
        two = run_of(app.state.database, store, 1, second)
        gate = (await client.get(f"/api/live/gate?run={two}")).json()
        assert gate["paired"]["answered"] == {"old": 1.0, "new": 0.7, "fewer": True}
        assert (gate["open"], gate["paired"]["verdict"]) == (False, "not worse")
        assert "70.0% of them a class" in gate["sentence"]
        refused = await client.post("/api/live/promote", json={"run": two})
        assert (refused.status_code, refused.json()["code"]) == (409, "gate")
        promoted = await client.post("/api/live/promote", json={"run": two, "reason": "a drill"})
        assert promoted.json()["run"] == two

    play(tmp_path, scene, service_url=service)


def test_promotion_rollback_and_answers_of_two_models(tmp_path: Path, service: str) -> None:
    store = tmp_path / "store"
    first, second = (publish_run(store, answers(40, wrong=range(n))) for n in (0, 9))

    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        one, two = (run_of(app.state.database, store, 1, bundle) for bundle in (first, second))
        nothing = (await client.get("/api/live")).json()
        assert (nothing["version"], nothing["service"]["status"]) == (None, "no_model")
        none = await client.post("/api/live/predict", files=FILES)
        assert none.json()["error_live"]["code"] == "no_model"

        promoted = await client.post("/api/live/promote", json={"run": one})
        assert promoted.json()["run"] == one
        live = await until_served(client, first)
        assert (live["version"], live["run"], live["by_studio"]) == (first, one, True)

        gate = (await client.get(f"/api/live/gate?run={two}")).json()
        assert (gate["open"], gate["paired"]["broken"]) == (False, 9)
        refused = await client.post("/api/live/promote", json={"run": two})
        assert (refused.status_code, refused.json()["code"]) == (409, "gate")
        assert refused.json()["needs_reason"]
        assert refused.json()["paired"]["verdict"] == "worse"

        both = await ask_both(client, two)
        assert both["error_live"] is both["error_chosen"] is None
        assert both["chosen"]["run"] == two
        assert both["live"]["model"]["version"] == first
        assert both["chosen"]["model"]["version"] == second
        assert len(both["chosen"]["predictions"]) == 1

        listed = (await client.get("/api/projects/1/runs")).json()["runs"]
        assert [(run["id"], run["live"]) for run in listed] == [(two, False), (one, True)]
        promoted = await client.post("/api/live/promote", json={"run": two, "reason": "a drill"})
        assert promoted.json()["history"][0]["overridden"]
        await until_served(client, second)
        back = await client.post("/api/live/rollback", json={"reason": "over"})
        assert back.json()["version"] == first
        assert [row["action"] for row in back.json()["history"]] == [
            "rollback", "promote", "promote",
        ]  # fmt: skip

        report = await client.get(f"/api/runs/{one}/report")
        assert "sandbox" in report.headers["content-security-policy"]
        detail = (await client.get(f"/api/runs/{two}")).json()
        assert detail["gone"] is None
        compared = (await client.get(f"/api/runs/{one}/compare/{two}")).json()
        assert compared["paired"]["broken"] == 9

    play(tmp_path, scene, service_url=service)


def test_service_that_is_not_there(tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient, app: FastAPI) -> None:
        live = (await client.get("/api/live")).json()
        assert live["service"]["status"] == "unreachable"
        answer = (await client.post("/api/live/predict", files=FILES)).json()
        assert answer["error_live"]["code"] == "service_unreachable"
        for wrong in (None, b"x"):
            refused = await client.post("/api/live/predict", content=wrong)
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_upload")
        odd = {b"Content-Type": b"multipart/form-data; boundary=\xe9"}  # no header to pass on
        refused = await client.post("/api/live/predict", content=b"x", headers=odd)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_upload")
        assert (await client.post("/api/live/predict?run=7", files=FILES)).status_code == 404
        for path, body in (("promote", {"run": 7}), ("rollback", {})):
            refused = await client.post(f"/api/live/{path}", json=body)
            assert refused.status_code in (404, 409), refused.text

    play(tmp_path, scene, service_url="http://127.0.0.1:9")


def test_candidate_is_ended_when_idle_and_one_runs_at_a_time(tmp_path: Path) -> None:
    store = tmp_path / "store"
    versions = [publish_run(store, None) for _ in range(2)]
    with_fake = (sys.executable, "-c", FAKE_SERVICE)

    async def scene() -> None:
        candidates = Candidates(store, idle_s=0.4, command=with_fake)
        first = await candidates.url_of(versions[0])
        pid = candidates._current.process.pid  # type: ignore[union-attr]
        assert await candidates.url_of(versions[0]) == first
        second = await candidates.url_of(versions[1])
        assert second != first
        assert start_of(pid) == ""
        pid = candidates._current.process.pid  # type: ignore[union-attr]
        task = asyncio.create_task(candidates.run())
        until = time.monotonic() + WAIT_S
        while start_of(pid):
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        task.cancel()
        await candidates.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ((sys.executable, "-c", "raise SystemExit(1)"), "has ended"),
        ((sys.executable, "-c", "print('hello')"), "has ended"),
        (("/no/such/program",), "No service process can be started"),
    ],
)
def test_candidate_that_does_not_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], reason: str
) -> None:
    folders = tmp_path / "temporary"
    folders.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    version = publish_run(tmp_path / "store", None)

    async def scene() -> None:
        candidates = Candidates(tmp_path / "store", idle_s=60, command=command)
        for _ in range(2):  # the next request starts anew
            with pytest.raises(CandidateFailed, match=reason):
                await candidates.url_of(version)
            assert list(folders.iterdir()) == []

    asyncio.run(scene())


def test_a_request_that_ends_while_a_process_starts_or_stops_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "temporary"
    folders.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    monkeypatch.setattr(candidates_module, "_STOP_S", float(WAIT_S))
    store = tmp_path / "store"
    first, second = (publish_run(store, None) for _ in range(2))
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FAKE_SERVICE}"

    async def never_starts(*_: object, **__: object) -> None:
        await asyncio.sleep(WAIT_S)

    async def scene() -> None:
        candidates = Candidates(store, idle_s=60, command=(sys.executable, "-c", deaf))
        await candidates.url_of(first)
        pid = candidates._current.process.pid  # type: ignore[union-attr]
        monkeypatch.setattr(candidates_module, "_WAIT_S", 0.5)
        with pytest.raises(CandidateStarting):
            await candidates.url_of(second)  # waits until the first one has ended
        until = time.monotonic() + WAIT_S
        while start_of(pid):
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        assert list(folders.iterdir()) == []
        monkeypatch.setattr(asyncio, "create_subprocess_exec", never_starts)
        with pytest.raises(CandidateStarting):
            await candidates.url_of(second)
        assert list(folders.iterdir()) == []

    asyncio.run(scene())


def test_candidate_that_never_listens_fails_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates_module, "_WAIT_S", 1.0)
    monkeypatch.setattr(candidates_module, "_START_S", 2.5)
    version = publish_run(tmp_path / "store", None)
    command = (sys.executable, "-c", "import time; time.sleep(600)")

    async def scene() -> None:
        candidates = Candidates(tmp_path / "store", idle_s=60, command=command)

        async def ask() -> object:
            try:
                return await candidates.url_of(version)
            except StudioError as error:
                return error

        outcomes = [await ask() for _ in range(3)]
        assert isinstance(outcomes[0], CandidateStarting)
        assert "does not become ready" in str(outcomes[-1])
        assert candidates._current is None

    asyncio.run(scene())


def test_candidate_that_served_has_no_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish_run(tmp_path / "store", None)

    async def scene() -> None:
        command = (sys.executable, "-c", FAKE_SERVICE)
        candidates = Candidates(tmp_path / "store", idle_s=60, command=command)
        first = await candidates.url_of(version)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 1_000)
        assert await candidates.url_of(version) == first
        await candidates.close()

    asyncio.run(scene())


def test_model_that_the_candidate_refuses_has_the_reason(tmp_path: Path) -> None:
    version = publish_run(tmp_path / "store", None)
    refusing = FAKE_SERVICE.replace(
        '{"status": "ok"}', '{"status": "no_model", "refused": {"reason": "it is damaged"}}'
    )

    async def scene() -> None:
        command = (sys.executable, "-c", refusing)
        candidates = Candidates(tmp_path / "store", idle_s=60, command=command)
        with pytest.raises(CandidateFailed, match="refuses the chosen model: it is damaged"):
            await candidates.url_of(version)
        assert candidates._current is None

    asyncio.run(scene())


def test_model_that_was_pruned_is_no_candidate(tmp_path: Path) -> None:
    async def scene() -> None:
        candidates = Candidates(tmp_path / "store", idle_s=60)
        with pytest.raises(BundleGone, match="has no version 0badf00d"):
            await candidates.url_of("0badf00d")

    asyncio.run(scene())


def test_candidate_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'studio.live.end_with_parent',"
        " str(os.getpid()), 'http.server', '0', '--bind', '127.0.0.1'], stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL, start_new_session=True)\n"
        "print(p.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = int(parent.stdout.readline())
    assert start_of(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    until = time.monotonic() + WAIT_S
    while start_of(child):
        assert time.monotonic() < until
        time.sleep(0.05)


FAKE_SERVICE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port} (documentation: /docs)", flush=True)
server.serve_forever()
"""
