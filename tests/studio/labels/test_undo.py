"""Undo: of any act, in any order that makes sense, exactly."""

from uuid import uuid4

import pytest
from sqlalchemy import select

from studio.database.tables import acts
from studio.labels.classes import add_class, rename_class
from studio.labels.groups import group_by_pattern, group_pictures, preview_groups
from studio.labels.history import list_acts
from studio.problems import BadPattern, CannotUndo, ClassExists, NotFound
from tests.studio.workspace import Workspace, picture


def last_act(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        act: str = list_acts(connection, workspace.project, limit=1)[0]["act"]
    return act


def test_undo_and_undo_of_the_undo(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 2, "no_mask": 1})
    first, second = workspace.ids(label="mask")
    before = workspace.state()
    act, back, again = (str(uuid4()) for _ in range(3))
    workspace.decide(act, (first, "no_mask", 1), (second, "-", 1))
    after = workspace.state()
    answer = workspace.undo(act, back)
    assert [(one.label, one.revision) for one in answer.saved] == [("mask", 3), ("mask", 3)]
    assert workspace.state() == before
    assert workspace.undo(act, back) == answer  # repeated
    with pytest.raises(CannotUndo, match="already"):
        workspace.undo(act, str(uuid4()))
    workspace.undo(back, again)
    assert workspace.state() == after
    workspace.undo(again, str(uuid4()))
    assert workspace.state() == before


def test_undo_leaves_what_another_act_has_changed_since(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 2, "no_mask": 1})
    first, second = workspace.ids(label="mask")
    act = str(uuid4())
    workspace.decide(act, (first, "no_mask", 1), (second, "no_mask", 1), by="ann")
    workspace.decide(str(uuid4()), (first, "-", 2), by="ben")
    answer = workspace.undo(act, str(uuid4()), by="ann")
    assert [one.picture for one in answer.saved] == [second]
    assert [(one.picture, one.label, one.by) for one in answer.conflicts] == [(first, "-", "ben")]
    assert workspace.picture(first)["label"] == "-"


def test_undo_of_an_older_act_works_once_the_later_one_is_undone(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 1, "no_mask": 1})
    first = workspace.ids(label="mask")[0]
    before = workspace.state()
    one, two = str(uuid4()), str(uuid4())
    workspace.decide(one, (first, "no_mask", 1))
    workspace.decide(two, (first, "-", 2))
    assert len(workspace.undo(one, str(uuid4())).conflicts) == 1
    workspace.undo(two, str(uuid4()))
    assert workspace.undo(one, str(uuid4())).conflicts == []
    assert workspace.state() == before


def test_undo_of_an_upload_takes_its_pictures_and_classes_away(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 2})
    before = workspace.state()
    drop = str(uuid4())
    workspace.add({"rain/a.png": b"no picture"}, drop=drop)
    results = workspace.add_numbered({"rain": 3}, drop=drop)
    workspace.add_numbered({"snow": 1}, drop=drop)
    assert [one.status for one in results] == ["added"] * 3
    workspace.undo(drop, str(uuid4()))
    after = workspace.state()
    assert after["classes"] == before["classes"]
    assert after["counts"] == before["counts"]
    assert workspace.ids() == workspace.ids(label="mask")
    # The same files again are added again, under the same ids.
    again = workspace.add_numbered({"rain": 3})
    assert [(one.status, one.picture) for one in again] == [
        ("added", one.picture) for one in results
    ]


def test_class_acts_are_undone_or_say_why_not(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 1, "no_mask": 1})
    before = workspace.state()
    first = workspace.ids()[0]
    add_class(workspace.database, workspace.project, name="rain", by="ann")
    added = last_act(workspace)
    with pytest.raises(ClassExists, match="rain"):
        add_class(workspace.database, workspace.project, name="RAIN", by="ann")
    rename_class(workspace.database, workspace.project, name="rain", to="Regen", by="ann")
    renamed = last_act(workspace)
    decided = str(uuid4())
    workspace.decide(decided, (first, "regen", 1))
    assert workspace.picture(first)["label"] == "Regen"
    with pytest.raises(CannotUndo):
        workspace.undo(added, str(uuid4()))
    workspace.undo(decided, str(uuid4()))
    workspace.undo(renamed, str(uuid4()))
    back = str(uuid4())
    workspace.undo(added, back)
    assert workspace.state() == before
    with pytest.raises(CannotUndo, match="rain is removed"):
        workspace.undo(last_act_of(workspace, decided), str(uuid4()))
    add_class(workspace.database, workspace.project, name="Rain", by="ben")
    with pytest.raises(ClassExists):
        rename_class(workspace.database, workspace.project, name="mask", to="rain", by="ben")
    with pytest.raises(NotFound):
        rename_class(workspace.database, workspace.project, name="snow", to="rain", by="ben")


def last_act_of(workspace: Workspace, undone: str) -> str:
    """Return the id of the act that has undone another one."""
    with workspace.database.read() as connection:
        target = connection.execute(select(acts).where(acts.c.uuid == undone)).one()
        act: str = connection.execute(
            select(acts.c.uuid).where(acts.c.id == target.undone_by)
        ).scalar_one()
    return act


def test_groups_by_hand_and_by_pattern_are_undone(workspace: Workspace) -> None:
    workspace.add(
        {
            f"mask/{person}_{number}.png": picture(f"{person}{number}")
            for person in ("eva", "tom")
            for number in range(2)
        }
    )
    before = workspace.state()
    ids = workspace.ids(order="name")
    found = preview_groups(workspace.database, workspace.project, r"([a-z]+)_")
    assert {name: list(members) for name, members in found.groups.items()} == {
        "eva": ids[:2],
        "tom": ids[2:],
    }
    assert workspace.state() == before
    group_by_pattern(workspace.database, workspace.project, r"([a-z]+)_", by="ann")
    by_pattern = last_act(workspace)
    assert workspace.picture(ids[0])["group"] == "eva"
    act = group_pictures(workspace.database, workspace.project, ids[1:3], "both", by="ann")
    assert workspace.picture(ids[1])["group"] == "both"
    workspace.undo(act, str(uuid4()))
    workspace.undo(by_pattern, str(uuid4()))
    assert workspace.state() == before
    for bad in ("(", "", "x" * 201):
        with pytest.raises(BadPattern):
            preview_groups(workspace.database, workspace.project, bad)
