"""The gate, promotion, rollback and the ledger."""

import shutil
from pathlib import Path

import pytest

from studio.database import Database
from studio.database.tables import projects
from studio.keys import Actor, Role
from studio.live.gate import judge
from studio.live.ledger import history, promote, roll_back
from studio.problems import BadRequest, BundleGone, GateClosed, NothingToRollBackTo
from studio.runs.runs import Run, get_run, live_version
from tests.studio.runs.bundles import answers, publish_run, run_of

ANN = Actor("ann", Role.PROMOTE)


@pytest.fixture(autouse=True)
def project(database: Database) -> None:
    """Make project 1."""
    row = {"id": 1, "name": "m", "key": "m", "created_at": "2026-11-22T00:00:00.000Z"}
    with database.write() as connection:
        connection.execute(projects.insert().values(row))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def make_run(database: Database, store: Path, count: int, wrong: range) -> Run:
    number = run_of(database, store, 1, publish_run(store, answers(count, wrong)))
    with database.read() as connection:
        return get_run(connection, number)


def test_model_that_is_shown_not_to_be_worse_needs_no_reason(
    database: Database, store: Path
) -> None:
    first = make_run(database, store, 600, range(8))
    second = make_run(database, store, 600, range(2, 10))
    promote(database, store, first, actor=ANN, reason=None)
    promoted = promote(database, store, second, actor=ANN, reason=None)
    assert live_version(store) == second.bundle == promoted["version"]
    assert promoted["gate"]["open"]
    with database.read() as connection:
        newest, oldest = history(connection)
    assert (newest["from"], newest["to"]) == (first.bundle, second.bundle)
    assert (newest["overridden"], newest["reason"]) == (False, None)
    paired = newest["evidence"]["paired"]
    assert (paired["n"], paired["fixed"], paired["broken"]) == (600, 2, 2)
    assert paired["verdict"] == "not worse"
    assert oldest["evidence"]["sentence"].startswith("No model is live yet")


def test_worse_model_needs_a_reason_which_the_ledger_keeps(database: Database, store: Path) -> None:
    first = make_run(database, store, 600, range(2))
    worse = make_run(database, store, 600, range(30))
    promote(database, store, first, actor=ANN, reason=None)
    with pytest.raises(GateClosed, match="not promoted without a reason") as closed:
        promote(database, store, worse, actor=ANN, reason="  ")
    assert closed.value.members["needs_reason"] is True
    assert closed.value.members["paired"]["verdict"] == "worse"
    assert live_version(store) == first.bundle
    with pytest.raises(BadRequest, match="1000 characters"):
        promote(database, store, worse, actor=ANN, reason="x" * 1001)
    promote(database, store, worse, actor=ANN, reason="the old one is not ours")
    with database.read() as connection:
        newest = history(connection)[0]
    assert (newest["overridden"], newest["reason"], newest["by"]) == (
        True, "the old one is not ours", "ann",
    )  # fmt: skip


def test_few_pictures_cannot_show_it_and_the_resolution_says_so(
    database: Database, store: Path
) -> None:
    promote(database, store, make_run(database, store, 120, range(0)), actor=ANN, reason=None)
    verdict = judge(store, live_version(store), make_run(database, store, 120, range(0)).bundle)
    assert not verdict.is_open
    assert verdict.evidence is not None
    # The design's figure: with no loss seen, the bound is 2.2 points at 120 pictures.
    assert 0.02 < verdict.evidence["resolution"] < 0.025
    assert "2.2 points at best" in verdict.sentence


def test_model_that_loses_in_one_class_is_not_open_although_another_gains(store: Path) -> None:
    live = publish_run(store, answers(800, range(0, 60, 2)), live=True)  # 30 of one class
    candidate = publish_run(store, answers(800, range(1, 25, 2)))  # 12 of the other
    verdict = judge(store, live, candidate)
    assert not verdict.is_open
    assert "worse for class no_mask (0 fixed, 12 broken of 400)" in verdict.sentence
    assert verdict.evidence is not None
    assert verdict.evidence["verdict"] == "worse"
    assert [part["worse"] for part in verdict.evidence["parts"]] == [False, True]


def test_loss_on_frozen_test_pictures_closes_the_gate(store: Path) -> None:
    good, bad = answers(100, first=5000), answers(100, range(5000, 5020), first=5000)
    live = publish_run(store, answers(600), live=True, tests=good)
    same = publish_run(store, answers(600), tests=good)
    worse = publish_run(store, answers(600), tests=bad)
    verdict = judge(store, live, same)
    assert verdict.is_open
    assert verdict.evidence is not None
    assert (verdict.evidence["n"], verdict.evidence["tests"]["n"]) == (600, 100)
    verdict = judge(store, live, worse)
    assert not verdict.is_open
    assert "not to be worse by 1.5 points" in verdict.sentence
    assert "On the frozen test pictures: It is shown to be worse" in verdict.sentence


def test_frozen_test_pictures_decide_if_no_training_picture_is_in_common(store: Path) -> None:
    tests = answers(400, first=5000)
    live = publish_run(store, answers(100), live=True, tests=tests)
    other = publish_run(store, answers(100, first=1000), tests=tests)
    verdict = judge(store, live, other)
    assert verdict.is_open
    assert verdict.sentence.startswith("On the frozen test pictures: ")
    assert verdict.evidence is not None
    assert verdict.evidence["n"] == 400


@pytest.mark.parametrize("count", [None, 50])
def test_models_that_cannot_be_compared_need_a_reason(
    count: int | None, database: Database, store: Path
) -> None:
    live = publish_run(store, None, live=True)
    candidate = make_run(database, store, 50, range(0))
    verdict = judge(store, live, candidate.bundle)
    assert not verdict.is_open
    assert verdict.evidence is None
    assert "cannot be compared" in verdict.sentence
    if count:
        shutil.rmtree(store / live)
        assert "cannot be compared" in judge(store, live, candidate.bundle).sentence


def test_live_model_is_not_promoted_again(database: Database, store: Path) -> None:
    run = make_run(database, store, 20, range(0))
    promote(database, store, run, actor=ANN, reason=None)
    promote(database, store, run, actor=ANN, reason=None)
    with database.read() as connection:
        assert len(history(connection)) == 1


def test_rollback_goes_back_step_by_step(database: Database, store: Path) -> None:
    runs = [make_run(database, store, 20, range(0)) for _ in range(3)]
    for run in runs:
        promote(database, store, run, actor=ANN, reason="a drill")
    ben = Actor("ben", Role.PROMOTE)
    assert roll_back(database, store, actor=ben, reason=None)["version"] == runs[1].bundle
    assert roll_back(database, store, actor=ben, reason="again")["run"] == runs[0].id
    with pytest.raises(NothingToRollBackTo):
        roll_back(database, store, actor=ben, reason=None)
    with database.read() as connection:
        rows = history(connection)
    assert [(row["action"], row["by"]) for row in rows[:2]] == [("rollback", "ben")] * 2
    assert len(rows) == 5


def test_model_that_changed_in_the_store_is_not_promoted(database: Database, store: Path) -> None:
    run = make_run(database, store, 20, range(0))
    (store / run.bundle / "model.pt").write_bytes(b"another model")
    with pytest.raises(BundleGone, match="checksum differs"):
        promote(database, store, run, actor=ANN, reason=None)
    assert live_version(store) is None
    with database.read() as connection:
        assert history(connection) == []
