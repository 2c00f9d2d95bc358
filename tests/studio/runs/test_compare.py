"""Runs: figures, comparison picture by picture, mistakes."""

import shutil
from pathlib import Path

import pytest

from studio.database import Database
from studio.database.tables import blobs, classes, pictures, projects
from studio.problems import BundleGone, NotComparable, NotFound
from studio.runs.compare import compare_runs, mistakes_of
from studio.runs.figures import sentence_of
from studio.runs.label_issues import (
    audited_issues_of,
    clear_relabelled,
    findings_of,
    label_issues_of,
)
from studio.runs.runs import get_run, list_runs, row_of
from tests.studio.runs.bundles import answers, digest, publish_run, run_of

NOW = "2026-11-22T00:00:00.000Z"


@pytest.fixture(autouse=True)
def project(database: Database) -> None:
    """Make project 1."""
    row = {"id": 1, "name": "m", "key": "m", "created_at": "2026-11-22T00:00:00.000Z"}
    with database.write() as connection:
        connection.execute(projects.insert().values(row))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def add_pictures(database: Database, count: int) -> None:
    """Give the project pictures whose id is their index + 1."""
    with database.write() as connection:
        facts = {"bytes": 1, "width": 1, "height": 1, "format": "JPEG", "added_at": NOW}
        connection.execute(blobs.insert(), [facts | {"sha256": digest(n)} for n in range(count)])
        connection.execute(
            pictures.insert(),
            [
                {"id": n + 1, "project_id": 1, "sha256": digest(n), "name": str(n), "added_at": NOW}
                for n in range(count)
            ],
        )


def test_comparison_of_two_runs(database: Database, store: Path) -> None:
    add_pictures(database, 110)
    old = run_of(database, store, 1, publish_run(store, answers(100, wrong=[1, 2, 3])), seed=0)
    later = answers(90, wrong=[3, 4, 20], first=0, relabelled=[50]) + answers(10, first=100)
    new = run_of(database, store, 1, publish_run(store, later), seed=7)
    with database.read() as connection:
        found = compare_runs(connection, store, get_run(connection, old), get_run(connection, new))
    # Picture 50 has another label now, which counts for both: the old answer was wrong.
    assert found["fixed"] == [1 + 1, 2 + 1, 50 + 1]
    assert found["broken"] == [4 + 1, 20 + 1]
    assert found["unchanged"] == {"correct": 84, "wrong": 1}
    assert found["answers"][2] == {"a": "mask", "b": "no_mask", "label": "no_mask"}
    assert found["dataset"]["added"] == [index + 1 for index in range(100, 110)]
    assert found["dataset"]["removed"] == [index + 1 for index in range(90, 100)]
    assert found["dataset"]["relabelled"] == [{"picture": 51, "a": "mask", "b": "no_mask"}]
    assert found["settings"] == [{"name": "seed", "a": 0, "b": 7}]
    paired = found["paired"]
    assert (paired["n"], paired["fixed"], paired["broken"]) == (90, 3, 2)
    assert paired["low"] < paired["difference"] < paired["high"]
    assert paired["verdict"] == "not shown"
    assert paired["resolution"] > paired["margin"] == 0.015


def test_pictures_that_the_project_lost_are_counted_but_not_shown(
    database: Database, store: Path
) -> None:
    add_pictures(database, 5)
    old = run_of(database, store, 1, publish_run(store, answers(40, wrong=[2, 30])))
    new = run_of(database, store, 1, publish_run(store, answers(40)))
    with database.read() as connection:
        found = compare_runs(connection, store, get_run(connection, old), get_run(connection, new))
    assert found["fixed"] == [3]
    assert found["paired"]["fixed"] == 2


def test_runs_without_a_common_picture_are_not_compared(database: Database, store: Path) -> None:
    one = run_of(database, store, 1, publish_run(store, answers(10)))
    other = run_of(database, store, 1, publish_run(store, answers(10, first=50)))
    bare = run_of(database, store, 1, publish_run(store, None))
    with database.read() as connection:
        runs = {number: get_run(connection, number) for number in (one, other, bare)}
        with pytest.raises(NotComparable, match="no picture in common"):
            compare_runs(connection, store, runs[one], runs[other])
        with pytest.raises(NotComparable, match="without its out-of-fold answers"):
            compare_runs(connection, store, runs[one], runs[bare])


def test_run_whose_model_was_pruned_says_so(database: Database, store: Path) -> None:
    version = publish_run(store, answers(10))
    number = run_of(database, store, 1, version)
    shutil.rmtree(store / version)
    with database.read() as connection:
        run = get_run(connection, number)
        with pytest.raises(BundleGone, match=f"run {number}"):
            mistakes_of(connection, store, run)
        assert row_of(run, None)["pictures"] == 0  # its figures stay
        with pytest.raises(NotFound, match="no run 99"):
            get_run(connection, 99)


def test_mistakes_are_listed_the_surest_first(database: Database, store: Path) -> None:
    add_pictures(database, 30)
    number = run_of(database, store, 1, publish_run(store, answers(30, wrong=[3, 9, 20])))
    with database.read() as connection:
        found = mistakes_of(connection, store, get_run(connection, number))
    assert {mistake["picture"] for mistake in found} == {4, 10, 21}
    scores = [mistake["score"] for mistake in found]
    assert scores == sorted(scores, reverse=True)


def test_same_bundle_is_one_run(database: Database, store: Path) -> None:
    version = publish_run(store, answers(10, wrong=[1]))
    assert run_of(database, store, 1, version) == run_of(database, store, 1, version)
    with database.read() as connection:
        (run,) = list_runs(connection, 1)
    row = row_of(run, version)
    assert row["live"]
    assert row["accuracy"] == {"value": 0.9, "low": 0.9, "high": 1.0}
    assert (row["wrong"], row["judged"]) == (1, 10)
    assert row["notes"] == ["Two pictures are copies."]
    assert sentence_of(run.figures).startswith(
        "Of 10 pictures that it had not learned from, 9 were right"
    )


def test_findings_of_an_audit_are_told_by_picture() -> None:
    rows: list[dict[str, object]] = [
        {"kind": "near_duplicates", "message": "1 pair", "names": [], "groups": [["a", "b"]]},
        {"kind": "dark", "message": "2 pictures are dark", "names": ["a", "not a picture"]},
        {"kind": "class_imbalance", "message": "of classes", "names": ["a"]},
    ]
    found = list(findings_of(rows, {"a": "1" * 64, "b": "2" * 64}))
    assert [(one.sha256[0], one.kind, one.message) for one in found] == [
        ("1", "copies", "A copy of b."),
        ("2", "copies", "A copy of a."),
        ("1", "dark", "Very dark."),
    ]


def test_label_issues_are_of_labels_that_still_hold(database: Database) -> None:
    add_pictures(database, 4)
    with database.write() as connection:
        for number, name in enumerate(("mask", "no_mask"), start=1):
            row = {"id": number, "project_id": 1, "name": name, "key": name}
            connection.execute(classes.insert().values(row))
        for index in range(4):
            connection.execute(
                pictures.update().where(pictures.c.id == index + 1).values(class_id=index % 2 + 1)
            )
        # Somebody has corrected picture 2 meanwhile.
        connection.execute(pictures.update().where(pictures.c.id == 3).values(class_id=2))
    with database.read() as connection:
        found = clear_relabelled(connection, 1, label_issues_of(answers(4, wrong=[1, 2])))
    assert [one.issue_score is not None for one in found] == [False, True, False, False]
    assert [one.suggestion for one in found] == ["mask", "mask", "no_mask", "no_mask"]
    rows = [
        {
            "kind": "suspect_labels",
            "details": {
                "suspects": [
                    {"name": "a", "given": "mask", "suggested": "no_mask",
                     "given_probability": 0.25, "suggested_probability": 0.75}
                ]
            },
        }
    ]  # fmt: skip
    ((label, issue),) = audited_issues_of(rows, {"a": "1" * 64})
    assert (label, issue.suggestion, issue.score, issue.issue_score) == (
        "mask",
        "no_mask",
        0.75,
        0.75,
    )
