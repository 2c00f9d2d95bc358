"""A thousand acts of every kind, undone in reverse order, give the exact state."""

import random

from sqlalchemy import select

from studio.database.tables import acts
from studio.labels.classes import add_class, rename_class
from studio.labels.groups import group_pictures
from studio.projects.classes import Classes
from studio.versions import versions
from tests.studio.labels.test_undo import last_act
from tests.studio.workspace import Workspace, uuid

_ACTS = {"sqlite": 1000, "postgresql": 200}


def test_random_acts_undone_give_the_exact_state(workspace: Workspace) -> None:
    source = random.Random(1)
    workspace.add_numbered({"mask": 20, "no_mask": 20})
    version = versions.create(workspace.database, workspace.versions, workspace.project, by="ann")
    ids = workspace.ids()
    before = workspace.state()
    manifest_before = workspace.versions.read(version.digest)
    done: list[str] = []
    for number in range(_ACTS[workspace.database.engine.dialect.name]):
        kind = source.choices(
            ["one", "bulk", "group", "class", "rename", "undo", "upload", "restore"],
            [40, 20, 10, 3, 3, 20, 2, 2],
        )[0]
        act = uuid(source)
        with workspace.database.read() as connection:
            known = Classes.of(connection, workspace.project)
        names = sorted(known.names[id] for id in known.ids.values())
        if kind in ("one", "bulk"):
            chosen = source.sample(ids, 1 if kind == "one" else source.randint(2, 20))
            present = set(workspace.ids())
            workspace.decide(
                act,
                *(
                    (id, source.choice([*names, None, "-"]), workspace.picture(id)["revision"])
                    for id in chosen
                    if id in present
                ),
            )
        elif kind == "group":
            group_pictures(
                workspace.database,
                workspace.project,
                source.sample(ids, 5),
                source.choice(["eva", "tom", None]),
                by="ann",
                act=act,
            )
        elif kind == "class":
            add_class(workspace.database, workspace.project, name=f"class {number}", by="ann")
            act = last_act(workspace)
        elif kind == "rename":
            rename_class(
                workspace.database,
                workspace.project,
                name=source.choice(names),
                to=f"renamed {number}",
                by="ann",
            )
            act = last_act(workspace)
        elif kind == "undo" and done:
            workspace.undo(done[-1], act)
        elif kind == "upload":
            workspace.add_numbered({f"new {number}": 1}, drop=act)
        elif kind == "restore":
            versions.restore(
                workspace.database,
                workspace.versions,
                workspace.project,
                version.id,
                by="ann",
            )
            act = last_act(workspace)
        with workspace.database.read() as connection:
            recorded = connection.execute(select(acts.c.id).where(acts.c.uuid == act)).first()
        if recorded is not None and act not in done:
            done.append(act)
    for act in reversed(done):
        with workspace.database.read() as connection:
            row = connection.execute(select(acts).where(acts.c.uuid == act)).one()
        if row.undone_by is None:
            assert workspace.undo(act, uuid(source)).conflicts == [], row.summary
    after = workspace.state()
    assert after["classes"] == before["classes"]
    assert after["counts"] == before["counts"]
    assert after["pictures"][: len(ids)] == before["pictures"]
    assert workspace.ids() == ids
    with workspace.database.read() as connection:
        manifest = versions.present_manifest(connection, workspace.project)
    assert manifest == manifest_before
