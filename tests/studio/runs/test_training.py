"""Real trainings and audits as jobs of the studio."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from models.bundle.store import versions as bundles_of
from studio.database import Database
from studio.jobs.options import JobOptions, Kind
from studio.jobs.queue import Job, events_after, get_job
from studio.jobs.supervisor import Supervisor
from studio.keys import Actor, Role
from studio.live.ledger import history, promote, roll_back
from studio.problems import GateClosed, NothingToRollBackTo
from studio.runs.compare import compare_runs
from studio.runs.runs import list_runs, live_version
from studio.runs.start import start_job
from studio.runs.work import StudioWork
from tests.images import draw_folders
from tests.studio.workspace import Workspace

ANN = Actor("ann", Role.PROMOTE)


@dataclasses.dataclass
class Studio:
    workspace: Workspace
    folder: Path
    store: Path

    @property
    def database(self) -> Database:
        return self.workspace.database

    def run(self, kind: Kind, version: int | None = None, **options: Any) -> Job:
        work = StudioWork(self.database, self.workspace.blobs, self.workspace.versions, self.store)
        supervisor = Supervisor(self.database, self.folder / "jobs", work)
        number = start_job(
            self.database,
            self.workspace.versions,
            self.workspace.project,
            kind,
            version=version,
            options=JobOptions(views=0, precision="fp32", preset="fast", **options),
            by="ann",
        ).id
        until = time.monotonic() + 900
        while True:
            assert supervisor.acquire()
            supervisor.step()
            with self.database.read() as connection:
                job = get_job(connection, number)
            if job.ended_at:
                supervisor.release()
                return job
            assert time.monotonic() < until
            time.sleep(0.05)

    def events(self, job: Job) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return events_after(connection, job.id, 0)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studio.db"


@pytest.fixture
def studio(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    # Other tests keep the processor busy: at a low priority a training would wait for all of them.
    monkeypatch.setattr("studio.jobs.process.lower_priority", lambda *_: None)
    source = draw_folders(tmp_path / "source", {"bar": 24, "disc": 24})
    files = {
        str(path.relative_to(source)): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file()
    }
    assert {result.status for result in workspace.add(files)} == {"added"}
    return Studio(workspace, tmp_path / "data", tmp_path / "store")


def test_training_makes_a_run_that_is_compared_promoted_and_rolled_back(studio: Studio) -> None:
    job = studio.run("fit")
    assert job.state == "done", (job.error, job.result)
    events = studio.events(job)
    assert [event["event"] for event in events[:3]] == ["state", "state", "started"]
    assert events[-1] == events[-1] | {"event": "state", "state": "done"}
    assert live_version(studio.store) is None  # --no-promote
    workspace = studio.workspace
    with studio.database.read() as connection:
        (run,) = list_runs(connection, workspace.project)
    assert run.bundle == bundles_of(studio.store)[-1]
    assert run.figures["accuracy"]["low"] <= run.figures["accuracy"]["value"]
    assert run.figures["pictures"] == 48
    assert run.version == job.version

    # The first model needs no comparison.
    promote(studio.database, studio.store, run, actor=ANN, reason=None)
    assert live_version(studio.store) == run.bundle
    with pytest.raises(NothingToRollBackTo):
        roll_back(studio.database, studio.store, actor=ANN, reason=None)

    # The same version and options give the same answers, and the same model.
    again = studio.run("fit", version=job.version)
    assert again.state == "done"
    with studio.database.read() as connection:
        newest = list_runs(connection, workspace.project)[0]
        compared = compare_runs(connection, studio.store, run, newest)
    assert compared["fixed"] == compared["broken"] == compared["settings"] == []
    assert compared["unchanged"]["correct"] + compared["unchanged"]["wrong"] == 48
    assert compared["dataset"] == {"added": [], "removed": [], "relabelled": []}
    one, other = studio.store / run.bundle, studio.store / newest.bundle
    for name in ("model.pt", "out_of_fold.csv", "report.html", "summary.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name

    # 48 pictures cannot show that a model is at most 1.5 points worse.
    with pytest.raises(GateClosed) as closed:
        promote(studio.database, studio.store, newest, actor=ANN, reason=" ")
    assert closed.value.members["paired"]["resolution"] > 0.015
    promote(studio.database, studio.store, newest, actor=ANN, reason="a drill")
    assert live_version(studio.store) == newest.bundle
    roll_back(studio.database, studio.store, actor=Actor("ben", Role.PROMOTE), reason="over")
    assert live_version(studio.store) == run.bundle
    with studio.database.read() as connection:
        rows = history(connection)
    assert [(row["action"], row["by"], row["reason"], row["overridden"]) for row in rows] == [
        ("rollback", "ben", "over", False),
        ("promote", "ann", "a drill", True),
        ("promote", "ann", None, False),
    ]
    assert rows[1]["from"] == run.bundle
    assert rows[1]["evidence"]["paired"]["n"] == 48


def test_audit_stores_its_findings_and_makes_no_version(studio: Studio) -> None:
    workspace = studio.workspace
    known = workspace.blobs.read(workspace.picture(workspace.ids()[0])["sha256"])
    workspace.add({"disc/copy.jpg": known + b"\0"})  # the same picture in another file
    job = studio.run("audit")
    assert job.state == "done", job.error
    assert job.version is None
    assert job.result is not None
    assert job.result["findings"] >= 2
    assert len(workspace.ids(filter="copies")) >= 2
