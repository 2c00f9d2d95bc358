"""The check that no label is lost: a short run, and the faults that it finds."""

import random
from pathlib import Path
from uuid import uuid4

from checks.labels import Annotator, find_faults, run
from checks.studio_process import Studio
from studio.database import open_database
from studio.database.tables import classes, decisions
from tests.studio.workspace import Workspace


def test_run_finds_no_fault(tmp_path: Path) -> None:
    figures = run(tmp_path, kills=2, decisions_number=40, cut=0.3, seed=1, database="")
    assert figures["kills"] == 2
    assert figures["decisions"] >= 40
    assert figures["unanswered requests"] > 0
    faults = ("lost", "overwritten unseen", "uncounted")
    assert [figures[name] for name in faults] == [0, 0, 0]


def test_find_faults_finds_each_kind(tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path}/studio.db"
    workspace = Workspace.make(open_database(database_url), tmp_path / "data")
    workspace.add_numbered({"mask": 2, "no_mask": 1})
    first, second, _ = workspace.ids()
    act = str(uuid4())
    workspace.decide(act, (first, "no_mask", 1))
    one = Annotator("ann", Studio(tmp_path, database_url, 0), "", random.Random(0), 0.0)
    one.acknowledged.append((act, first, "no_mask", 2))
    one.sent[act, first] = (1, "mask")
    assert find_faults(database_url, workspace.project, [one]) == {}
    one.acknowledged.append((str(uuid4()), second, "no_mask", 2))
    assert find_faults(database_url, workspace.project, [one]) == {"lost": 1}
    one.sent[act, first] = (1, "no_mask")
    assert find_faults(database_url, workspace.project, [one])["overwritten unseen"] == 1
    with workspace.database.write() as connection:
        connection.execute(classes.update().values(pictures=7))
        connection.execute(decisions.update().values(left_out=True))
    faults = find_faults(database_url, workspace.project, [one])
    assert faults["uncounted"] == 1
    assert faults["lost"] > 2
    workspace.blobs.close()
    workspace.database.close()
