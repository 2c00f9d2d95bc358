"""How pictures enter a project."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from models.imaging.open import open_image
from studio.database import Database
from studio.labels.classes import rename_class
from studio.pictures import examine
from studio.pictures.blobs import BlobStore
from studio.pictures.intake import add_known
from studio.pictures.removal import delete_files
from studio.pictures.upload_plan import plan_upload
from studio.problems import DropUndone, NotFound
from studio.projects.projects import create_project, remove_project
from tests.images import encode, photograph
from tests.models.imaging.heif_files import heic
from tests.studio.workspace import Workspace, picture
from training.audit import quality


def test_a_folder_of_181_files_gives_181_pictures(workspace: Workspace) -> None:
    results = [
        one
        for start in range(0, 181, 64)
        for one in workspace.add(
            {f"mask/{n}.png": picture(str(n)) for n in range(start, min(181, start + 64))}
        )
    ]
    assert [one.status for one in results] == ["added"] * 181
    assert workspace.describe()["counts"]["pictures"] == 181
    assert len(workspace.ids(label="mask")) == 181


def test_each_refused_file_has_its_reason(workspace: Workspace) -> None:
    whole = encode(photograph(400, 300), "JPEG")
    results = workspace.add(
        {
            "mask/a.jpg": whole,
            "mask/empty.jpg": b"",
            "mask/text.jpg": b"no picture at all",
            "mask/cut.jpg": whole[: len(whole) // 2],
            "mask/page.jpg": b"<!DOCTYPE html><html>",
        }
    )
    assert [(one.status, one.code) for one in results] == [
        ("added", None),
        ("refused", "empty_picture"),
        ("refused", "unsupported_format"),
        ("refused", "undecodable_image"),
        ("refused", "unsupported_format"),
    ]
    assert all(one.reason for one in results[1:])
    assert workspace.describe()["counts"]["pictures"] == 1


def test_the_same_picture_twice_is_one(workspace: Workspace) -> None:
    one = picture("one")
    results = workspace.add({"mask/a.png": one, "mask/b.png": one, "no_mask/c.png": one})
    assert [(r.status, r.conflict) for r in results] == [
        ("added", False),
        ("duplicate", False),
        ("duplicate", True),
    ]
    assert results[2].reason == (
        "the same picture as a.png, which is labelled mask: the same picture cannot be no_mask, too"
    )
    assert workspace.describe()["counts"]["pictures"] == 1
    assert workspace.ids(filter="conflict") == workspace.ids()
    again = workspace.add({"other/c.png": one})
    assert again[0].conflict
    assert len(workspace.picture(workspace.ids()[0])["findings"]) == 1


def test_a_class_renamed_during_an_upload_keeps_its_pictures(workspace: Workspace) -> None:
    drop = str(uuid4())
    workspace.add({"mask/a.png": picture("a"), "none/b.png": picture("b")}, drop=drop)
    rename_class(workspace.database, workspace.project, name="mask", to="Maske", by="ben")
    (result,) = workspace.add({"mask/c.png": picture("c")}, drop=drop)
    assert (result.status, result.label) == ("added", "Maske")
    assert [(one["name"], one["pictures"]) for one in workspace.describe()["classes"]] == [
        ("Maske", 2),
        ("none", 1),
    ]
    workspace.add({"mask/d.png": picture("d")}, drop=str(uuid4()))  # another drop: another class
    assert {one["name"] for one in workspace.describe()["classes"]} == {"Maske", "mask", "none"}


def test_an_upload_that_is_undone_ends_with_a_reason(workspace: Workspace) -> None:
    drop = str(uuid4())
    workspace.add({"mask/a.png": picture("a")}, drop=drop)
    workspace.undo(drop, str(uuid4()))
    with pytest.raises(DropUndone):
        workspace.add({"mask/b.png": picture("b")}, drop=drop)
    assert workspace.describe()["counts"]["pictures"] == 0


def test_picture_whose_file_is_removed_during_an_upload_is_stored_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another project that holds the same picture is removed between look and record."""
    one = picture("one")
    sha256 = str(workspace.add({"mask/a.png": one})[0].sha256)
    with workspace.database.write() as connection:
        other = create_project(connection, "other")
        remove_project(connection, workspace.project)
    add = BlobStore.add

    def add_and_remove(store: BlobStore, *files: Any) -> None:
        add(store, *files)
        monkeypatch.setattr(BlobStore, "add", add)
        assert delete_files(workspace.database, workspace.blobs) == 1

    monkeypatch.setattr(BlobStore, "add", add_and_remove)
    replace(workspace, project=other).add({"mask/a.png": one})
    assert workspace.blobs.read(sha256) == one
    assert delete_files(workspace.database, workspace.blobs) == 0


def test_a_label_comes_to_a_picture_that_had_none(workspace: Workspace) -> None:
    one = picture("one")
    workspace.add({"a.png": one})
    assert workspace.describe()["counts"]["unlabelled"] == 1
    (result,) = workspace.add({"mask/a.png": one})
    assert (result.status, result.label) == ("duplicate", "mask")
    assert workspace.describe()["counts"]["unlabelled"] == 0
    assert workspace.ids(label="mask") == workspace.ids()


def test_known_files_are_added_without_their_bytes(workspace: Workspace) -> None:
    added = workspace.add_numbered({"mask": 3})
    with workspace.database.write() as connection:
        workspace.project = create_project(connection, "another")
    plan = plan_upload([f"mask/{n:03}.png" for n in range(4)])
    digests = [str(one.sha256) for one in added] + ["0" * 64]
    wanted = list(zip(plan.files.values(), digests, strict=True))
    results, missing = add_known(
        workspace.database, workspace.blobs, workspace.project, wanted, by="ann"
    )
    assert [one.status for one in results] == ["added"] * 3
    assert missing == ["0" * 64]
    results, _ = add_known(workspace.database, workspace.blobs, workspace.project, wanted, by="ann")
    assert [one.status for one in results] == ["duplicate"] * 3


def test_a_lost_file_is_missing_and_comes_back(workspace: Workspace) -> None:
    (added,) = workspace.add_numbered({"mask": 1})
    path = workspace.blobs.path(str(added.sha256))
    path.unlink()
    file = next(iter(plan_upload(["mask/000.png"]).files.values()))
    _, missing = add_known(
        workspace.database,
        workspace.blobs,
        workspace.project,
        [(file, str(added.sha256))],
        by="ann",
    )
    assert missing == [added.sha256]
    workspace.add_numbered({"mask": 1})
    assert path.is_file()


def test_frozen_test_pictures_are_kept_apart(workspace: Workspace) -> None:
    both = picture("both")
    results = workspace.add(
        {
            "d/train/mask/a.png": picture("a"),
            "d/train/no/b.png": both,
            "d/test/mask/c.png": picture("c"),
            "d/test/no/d.png": both,
        },
        split="keep-test",
    )
    assert [one.status for one in results] == ["added", "added", "added", "duplicate"]
    assert "it cannot test the model" in str(results[3].reason)
    found = workspace.describe()
    assert found["counts"]["test"] == 1
    assert found["classes"] == [{"name": "mask", "pictures": 1}, {"name": "no", "pictures": 1}]
    assert [workspace.picture(id)["test"] for id in workspace.ids(filter="test")] == [True]


def test_odd_pictures_are_found_at_the_upload(workspace: Workspace) -> None:
    workspace.add(
        {
            "mask/tiny.png": encode(photograph(40, 40)),
            "mask/long.png": encode(photograph(400, 100, 1)),
            "mask/dark.png": encode(photograph(100, 100, 2).point(lambda level: level // 20)),
            "mask/good.png": encode(photograph(100, 100, 3)),
        }
    )
    for kind in ("tiny", "odd_shape", "dark"):
        (found,) = workspace.ids(filter=kind)
        assert workspace.picture(found)["name"] == f"{kind.replace('odd_shape', 'long')}.png"
    assert workspace.describe()["counts"]["findings"] == {
        "tiny": 1, "odd_shape": 1, "dark": 1, "label_issue": 0,
    }  # fmt: skip


def test_near_copies_are_found_at_the_upload(workspace: Workspace) -> None:
    image = photograph(400, 300, 7)
    workspace.add({"mask/a.jpg": encode(image, "JPEG"), "mask/b.jpg": encode(photograph(400, 300))})
    assert workspace.ids(filter="copies") == []
    workspace.add({"no_mask/c.jpg": encode(image, "JPEG", quality=50)})
    found = [workspace.picture(id) for id in workspace.ids(filter="copies")]
    assert [(one["name"], one["findings"][0]["message"]) for one in found] == [
        ("a.jpg", "Nearly the same picture as c.jpg."),
        ("c.jpg", "Nearly the same picture as a.jpg."),
    ]


def test_oddities_have_the_audits_limits() -> None:
    assert examine.MIN_EDGE_PX == quality._MIN_EDGE_PX
    assert examine.MAX_ASPECT == quality._MAX_ASPECT
    assert examine.MAX_BRIGHTNESS_OF_DARK == quality._MAX_BRIGHTNESS_OF_DARK
    assert examine.MAX_LIGHTEST_OF_DARK == quality._MAX_LIGHTEST_OF_DARK


def test_thumbnails_are_upright_small_and_made_once(workspace: Workspace) -> None:
    image = photograph(300, 200)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    workspace.add({"mask/a.jpg": encode(image, "JPEG", exif=exif)})
    shown = workspace.picture(workspace.ids()[0])
    assert (shown["width"], shown["height"]) == (200, 300)
    thumbnail = workspace.blobs.thumbnail(shown["sha256"], 160)
    assert open_image(thumbnail).size == (107, 160)
    larger = workspace.blobs.thumbnail(shown["sha256"], 640)
    assert open_image(larger).size == (200, 300)
    (path,) = (workspace.blobs.folder / "thumbnails" / "640").rglob("*.jpg")
    path.write_bytes(b"")  # as a power cut leaves it
    assert workspace.blobs.thumbnail(shown["sha256"], 640) == larger
    with pytest.raises(NotFound):
        workspace.blobs.thumbnail("../../etc/passwd", 160)
    with pytest.raises(NotFound):
        workspace.blobs.thumbnail("0" * 64, 160)


def test_a_phones_pictures_are_added(workspace: Workspace) -> None:
    (result,) = workspace.add({"mask/IMG_0001.HEIC": heic(photograph(320, 240), orientation=6)})
    assert result.status == "added", result.reason
    shown = workspace.picture(workspace.ids()[0])
    assert (shown["width"], shown["height"]) == (240, 320)
    thumbnail = open_image(workspace.blobs.thumbnail(shown["sha256"], 160))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (120, 160))


def test_what_an_interrupted_upload_left_is_removed_after_a_day(workspace: Workspace) -> None:
    old, new = workspace.blobs.incoming(), workspace.blobs.incoming()
    for path in (old, new):
        path.write_bytes(b"half a file")
    os.utime(old, (0, 0))
    workspace.blobs.clean_up()
    assert (old.exists(), new.exists()) == (False, True)


def test_uploads_at_the_same_time_lose_nothing(workspace: Workspace) -> None:
    shared = {f"mask/s{n}.png": picture(f"shared{n}") for n in range(5)}

    def upload(person: int) -> int:
        own = {f"mask/{person}-{n}.png": picture(f"{person}-{n}") for n in range(5)}
        return sum(one.status == "added" for one in workspace.add(own | shared))

    with ThreadPoolExecutor(4) as threads:
        added = sum(threads.map(upload, range(4)))
    assert added == 4 * 5 + 5
    assert workspace.describe()["counts"]["pictures"] == 25


def test_a_full_disk_leaves_no_row(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.make(database, tmp_path / "data")

    def fail(path: Path, data: bytes) -> None:
        path.write_bytes(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.bundle.fsync.write", fail)
    with pytest.raises(OSError, match="No space"):
        workspace.add_numbered({"mask": 3})
    monkeypatch.undo()
    assert workspace.ids() == []
    assert [path for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()] == []
    assert list((tmp_path / "data" / "incoming").iterdir()) == []
    assert [one.status for one in workspace.add_numbered({"mask": 3})] == ["added"] * 3
    workspace.blobs.close()
