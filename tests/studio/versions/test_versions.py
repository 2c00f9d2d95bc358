"""Versions: immutable, found again by content, compared, restored, made into folders."""

import gzip
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from studio.database.database import open_database
from studio.labels.classes import add_class, rename_class
from studio.labels.groups import group_pictures
from studio.labels.history import list_acts
from studio.pictures.blobs import BlobStore
from studio.problems import DatabaseUnusable, NotFound
from studio.versions import versions
from studio.versions.folder import Materialised, materialise, materialise_present, read_files
from studio.versions.snapshot import save_snapshot
from studio.versions.store import VersionStore
from tests.studio.workspace import Workspace, picture
from training.data.dataset import scan
from training.data.source import open_source


def make(workspace: Workspace, note: str = "") -> versions.Version:
    return versions.create(
        workspace.database, workspace.versions, workspace.project, by="ann", note=note
    )


def folders(workspace: Workspace, version: versions.Version, target: Path) -> Materialised:
    return materialise(
        workspace.database,
        workspace.versions,
        workspace.blobs,
        workspace.project,
        version.id,
        target,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_content_gives_the_same_version(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 3, "no_mask": 2})
    first = make(workspace, "first")
    assert first.created
    assert make(workspace, "again") == versions.Version(first.id, 1, first.digest, created=False)
    act = str(uuid4())
    workspace.decide(act, (workspace.ids()[0], "no_mask", 1))
    second = make(workspace)
    assert (second.number, second.created) == (2, True)
    workspace.undo(act, str(uuid4()))
    assert make(workspace).id == first.id
    with workspace.database.read() as connection:
        listed = versions.list_versions(connection, workspace.project)
    assert [(one["number"], one["note"], one["labelled"]) for one in listed] == [
        (2, "", 5),
        (1, "first", 5),
    ]


def test_compare_names_what_differs(workspace: Workspace) -> None:
    results = workspace.add_numbered({"mask": 3})
    first = make(workspace)
    one, two, three = workspace.ids()
    add_class(workspace.database, workspace.project, name="rain", by="ann")
    workspace.decide(str(uuid4()), (one, "rain", 1), (two, "-", 1))
    group_pictures(workspace.database, workspace.project, [three], "eva", by="ann")
    (added,) = workspace.add({"mask/new.png": picture("new")})
    second = make(workspace)
    found = versions.compare(
        workspace.versions.read(first.digest), workspace.versions.read(second.digest)
    )
    digests = [str(result.sha256) for result in results]
    assert found.added == [added.sha256]
    assert found.removed == []
    assert found.relabelled == {digests[0]: ("mask", "rain"), digests[1]: ("mask", "-")}
    assert found.regrouped == {digests[2]: (None, "eva")}
    with workspace.database.read() as connection:
        latest = versions.latest_version(connection, workspace.project)
        assert versions.count_changes(connection, workspace.versions, workspace.project, None) == 4
        assert (
            versions.count_changes(connection, workspace.versions, workspace.project, latest) == 0
        )


def test_restore_gives_the_exact_content_and_is_undone(workspace: Workspace) -> None:
    workspace.add_numbered({"mask": 3, "no_mask": 1})
    first = make(workspace)
    one, two, *_ = workspace.ids()
    workspace.decide(str(uuid4()), (one, "-", 1), (two, None, 1))
    rename_class(workspace.database, workspace.project, name="no_mask", to="bare", by="ann")
    group_pictures(workspace.database, workspace.project, [one], "eva", by="ann")
    workspace.add({"rain/new.png": picture("new")})
    second, state = make(workspace), workspace.state()
    changed = versions.restore(
        workspace.database, workspace.versions, workspace.project, first.id, by="ben"
    )
    assert changed == 4  # one, two, the renamed class's picture, the new one
    with workspace.database.read() as connection:
        manifest = versions.present_manifest(connection, workspace.project)
    assert manifest.entries == workspace.versions.read(first.digest).entries
    assert workspace.describe()["counts"]["pictures"] == 4
    with workspace.database.read() as connection:
        act = list_acts(connection, workspace.project, limit=1)[0]["act"]
    workspace.undo(act, str(uuid4()))
    assert make(workspace).id == second.id
    assert workspace.state()["counts"] == state["counts"]


def test_the_same_version_gives_the_same_folders(workspace: Workspace, tmp_path: Path) -> None:
    workspace.add_numbered({"mask": 2, "no_mask": 2})
    workspace.add({"loose.png": picture("loose"), "mask/mask.png": picture("extra")})
    mask, no_mask = workspace.ids(label="mask"), workspace.ids(label="no_mask")
    workspace.decide(str(uuid4()), (no_mask[0], "mask", 1), (mask[1], "-", 1))
    group_pictures(workspace.database, workspace.project, [mask[0]], "eva", by="ann")
    version = make(workspace)
    before = folders(workspace, version, tmp_path / "one")
    assert before.data == tmp_path / "one" / "data"
    found = content(before.data)
    left_out = workspace.picture(mask[1])["sha256"]
    decided = {left_out: "-", workspace.picture(no_mask[0])["sha256"]: "mask"}
    labels = {name: decided[digest] for name, digest in before.files.items() if digest in decided}
    rows = sorted(f"{name},{label}" for name, label in labels.items())
    assert found["labels.csv"].decode().splitlines() == ["file,label", *rows]
    assert found["groups.csv"].count(b"eva") == 1
    assert "mask/000.png" in found
    renamed = [name for name in found if name.startswith("mask/000~")]
    assert len(renamed) == 1  # relabelled, beside one of the same name
    assert len(before.files) == 5
    assert read_files(tmp_path / "one") == before.files
    workspace.decide(str(uuid4()), (mask[0], "no_mask", 2))
    workspace.add_numbered({"rain": 2})
    after = folders(workspace, version, tmp_path / "two")
    assert content(after.data) == found
    assert folders(workspace, version, tmp_path / "one").files == before.files  # made again
    present = materialise_present(
        workspace.database, workspace.blobs, workspace.project, tmp_path / "three"
    )
    assert present.files != before.files


def test_training_reads_the_folders_as_the_studio_means_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.add_numbered({"mask": 4, "no_mask": 3})
    left_out = workspace.ids(label="mask")[0]
    workspace.decide(str(uuid4()), (left_out, "-", 1))
    group_pictures(
        workspace.database, workspace.project, workspace.ids(label="mask")[1:3], "eva", by="ann"
    )
    made = folders(workspace, make(workspace), tmp_path / "v")
    listing = scan(open_source(made.data))
    assert listing.labels == ("mask", "no_mask")
    assert [listing.labels[c] for c in listing.classes].count("mask") == 3
    assert sorted(listing.groups.values()) == ["eva", "eva"]
    assert [one.reason for one in listing.skipped] == ["by labels.csv"]
    assert listing.unmatched == ()


def test_frozen_test_sets_are_folders_of_their_own(workspace: Workspace, tmp_path: Path) -> None:
    workspace.add(
        {
            f"d/{split}/{label}/{n}.png": picture(f"{split}{label}{n}")
            for split in ("train", "test", "valid")
            for label in ("mask", "no")
            for n in range(2)
        },
        split="keep-test",
    )
    made = folders(workspace, make(workspace), tmp_path / "v")
    assert [(name, len(list(folder.rglob("*.png")))) for name, folder in made.tests] == [
        ("test", 4),
        ("valid", 4),
    ]
    assert len(made.files) == 4


def test_a_lost_or_damaged_manifest_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    workspace.add_numbered({"mask": 1})
    version = make(workspace)
    path = workspace.versions.path(version.digest)
    good = path.read_bytes()
    broken = bytearray(good)
    broken[12:20] = bytes(8)  # within the compressed data
    for content in (good[:-9], bytes(broken), b"no gzip file"):
        path.write_bytes(content)
        with pytest.raises(NotFound, match="cannot be read"):
            folders(workspace, version, tmp_path / "v")
    path.write_bytes(gzip.compress(b"another manifest"))
    with pytest.raises(NotFound, match="damaged"):
        workspace.versions.read(version.digest)
    path.unlink()
    with pytest.raises(NotFound):
        workspace.versions.read(version.digest)
    make(workspace)  # written again
    assert path.read_bytes() == good
    with pytest.raises(NotFound, match="no version 99"):
        versions.restore(workspace.database, workspace.versions, workspace.project, 99, by="ann")
    workspace.blobs.path(str(workspace.picture(workspace.ids()[0])["sha256"])).unlink()
    with pytest.raises(NotFound, match="no picture"):
        folders(workspace, version, tmp_path / "v")


def test_a_snapshot_is_a_whole_studio(workspace: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "copy"

    def save() -> int:
        return save_snapshot(
            workspace.database, workspace.blobs.folder, target, database_file="studio.db"
        )

    if not workspace.database.is_sqlite:
        with pytest.raises(DatabaseUnusable, match="pg_dump"):
            save()
        return
    workspace.add_numbered({"mask": 3, "no_mask": 2})
    version = make(workspace)
    before = workspace.state()
    assert save() == 5
    with pytest.raises(DatabaseUnusable, match="there already"):
        save()
    workspace.decide(str(uuid4()), (workspace.ids()[0], "-", 1))
    copy = Workspace(
        open_database(f"sqlite:///{target / 'studio.db'}"),
        BlobStore(target),
        VersionStore(target),
        workspace.project,
    )
    assert copy.state() == before
    assert len(folders(copy, version, tmp_path / "v").files) == 5
    copy.decide(str(uuid4()), (copy.ids()[0], None, 1))
    copy.blobs.close()
    copy.database.close()


def test_a_snapshot_taken_while_people_decide_is_one_state(
    workspace: Workspace, tmp_path: Path
) -> None:
    if not workspace.database.is_sqlite:
        pytest.skip("PostgreSQL has pg_dump")
    workspace.add_numbered({"mask": 6, "no_mask": 6})
    enough = threading.Event()

    def work() -> None:
        source = random.Random(0)
        while not enough.is_set():
            one = workspace.picture(source.choice(workspace.ids()))
            label = source.choice(["mask", "no_mask", "-", None])
            workspace.decide(str(uuid4()), (one["id"], label, one["revision"]))

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(work) for _ in range(2)]
        try:
            for number in range(5):
                target = tmp_path / str(number)
                save_snapshot(
                    workspace.database, workspace.blobs.folder, target, database_file="studio.db"
                )
        finally:
            enough.set()
        for one in working:
            one.result()
    revisions = []
    for number in range(5):
        url = f"sqlite:///{tmp_path / str(number)}/studio.db"
        copy = replace(workspace, database=open_database(url))
        shown = [copy.picture(id) for id in copy.ids()]
        described = copy.describe()
        labels = Counter(one["label"] for one in shown)
        for name in ("mask", "no_mask"):
            (kept,) = (one["pictures"] for one in described["classes"] if one["name"] == name)
            assert kept == labels[name]
        assert described["counts"]["left_out"] == labels["-"]
        assert described["counts"]["unlabelled"] == labels[None]
        revisions.append(described["revision"])
        copy.database.close()
    assert revisions == sorted(revisions)
