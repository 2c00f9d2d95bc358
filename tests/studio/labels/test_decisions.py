"""Decisions: compare-and-set, repetition, counts."""

from uuid import uuid4

import pytest

from studio.labels.findings import LabelIssue, store_label_issues
from studio.problems import ActReused, BadRequest, NotFound, UnknownClass
from tests.studio.workspace import Workspace


def test_decide_saves_and_counts(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 3, "no_mask": 2})
    first, second, *_ = workspace.ids(label="mask")
    answer = workspace.decide(str(uuid4()), (first, "no_mask", 1), (second, "-", 1))
    assert [(one.picture, one.label, one.revision) for one in answer.saved] == [
        (first, "no_mask", 2),
        (second, "-", 2),
    ]
    assert answer.conflicts == []
    found = workspace.describe()
    assert found["classes"] == [{"name": "mask", "pictures": 1}, {"name": "no_mask", "pictures": 3}]
    assert found["counts"]["left_out"] == 1
    assert found["counts"]["labelled"] == 4
    assert workspace.picture(first)["judged"]
    assert not workspace.picture(workspace.ids(label="mask")[1])["judged"]


def test_decide_about_an_old_revision_is_a_conflict_that_names_the_last_decider(
    workspace: Workspace,
) -> None:
    workspace.add_numbered({"mask": 1, "no_mask": 1})
    first = workspace.ids(label="mask")[0]
    workspace.decide(str(uuid4()), (first, "no_mask", 1), by="ann")
    answer = workspace.decide(str(uuid4()), (first, "mask", 1), by="ben")
    assert answer.saved == []
    (conflict,) = answer.conflicts
    assert (conflict.label, conflict.revision, conflict.by) == ("no_mask", 2, "ann")
    assert workspace.picture(first)["label"] == "no_mask"


def test_decide_repeats_without_harm(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 2, "no_mask": 1})
    first, second = workspace.ids(label="mask")
    act = str(uuid4())
    wanted = ((first, "no_mask", 1), (second, "no_mask", 7))
    answer = workspace.decide(act, *wanted)
    before = workspace.state()
    assert workspace.decide(act, *wanted) == answer
    assert workspace.state() == before
    with pytest.raises(ActReused):
        workspace.decide(act, (first, "mask", 2))


def test_decide_of_an_unknown_class_changes_nothing(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 1, "no_mask": 1})
    before = workspace.state()
    first, second = workspace.ids()
    with pytest.raises(UnknownClass, match=r"'rain'.*mask, no_mask"):
        workspace.decide(str(uuid4()), (first, "no_mask", 1), (second, "rain", 1))
    assert workspace.state() == before


def test_decide_about_a_picture_of_another_project_is_a_conflict(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 1})
    answer = workspace.decide(str(uuid4()), (99_999, "mask", 1))
    assert [(one.picture, one.revision, one.by) for one in answer.conflicts] == [(99_999, 0, None)]


def test_decide_needs_a_uuid_and_a_project(workspace: Workspace) -> None:
    with pytest.raises(BadRequest, match="UUID"):
        workspace.decide("1")
    workspace.project = 99
    with pytest.raises(NotFound, match="no project 99"):
        workspace.decide(str(uuid4()))


def test_a_label_issue_is_open_until_the_picture_is_judged_and_again_after_an_undo(
    workspace: Workspace,
) -> None:
    added = workspace.add_numbered({"mask": 2, "no_mask": 1})
    digest = str(added[0].sha256)
    store_label_issues(
        workspace.database,
        workspace.project,
        [LabelIssue(digest, "no_mask", 0.98, 0.97)],
        job_id=None,
    )
    (suspicious,) = workspace.ids(filter="label_issue")
    assert workspace.ids(order="label_issues")[0] == suspicious
    shown = workspace.picture(suspicious)
    assert shown["issue_score"] == 0.97
    assert shown["suggestion"] == {"label": "no_mask", "score": 0.98}
    act = str(uuid4())
    workspace.decide(act, (suspicious, "mask", 1))  # it is right
    assert workspace.ids(filter="label_issue") == []
    assert workspace.describe()["counts"]["label_issues"] == 0
    workspace.undo(act, str(uuid4()))
    assert workspace.ids(filter="label_issue") == [suspicious]
    assert workspace.describe()["counts"]["label_issues"] == 1
