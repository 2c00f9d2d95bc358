"""The store without its models: current version, history, rollback, pruning."""

import errno
import fcntl
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import files, fsync
from models.bundle import store as module
from models.bundle.files import MANIFEST, MODEL, read_files, read_manifest
from models.bundle.load import open_bundle
from models.bundle.publish import publish
from models.bundle.store import (
    CURRENT,
    HISTORY,
    checkout_store,
    current_version,
    promote,
    prune,
    rollback,
    rollback_version,
    set_current,
    versions,
)
from models.errors import (
    BundleError,
    BundleIncomplete,
    BundleUnreadable,
    NoBundle,
    PointerUnreadable,
    SchemaUnsupported,
    StoreNotSynced,
)
from tests import WAIT_S
from tests.models.tiny_bundle import bundle_facts


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(name="four")
def _four(folder: Path, tiny_model: bytes) -> list[str]:
    """A store of four versions, each served once; the last one is current."""
    facts = bundle_facts(tiny_model)
    return [publish(folder, {MODEL: tiny_model}, facts).manifest.version for _ in range(4)]


def hidden(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir() if item.name.startswith(".")} - {".lock"}


def test_publish_appends_to_the_history(folder: Path, four: list[str]) -> None:
    assert (folder / HISTORY).read_text().split() == four
    assert rollback_version(folder) == four[2]


def test_rollback_goes_further_back_each_time(folder: Path, four: list[str]) -> None:
    promote(folder, four[0])
    assert current_version(folder) == four[0]
    for wanted in (four[3], four[2], four[1], four[0]):
        assert rollback(folder) == wanted == current_version(folder)
    with pytest.raises(BundleError, match="served before the current one"):
        rollback(folder)
    assert current_version(folder) == four[0]
    assert hidden(folder) == set()


def test_rollback_skips_removed_versions(folder: Path, four: list[str]) -> None:
    (folder / four[2]).rename(folder.parent / "gone")
    assert rollback(folder) == four[1]


def test_rollback_without_a_history_takes_the_next_older_version(
    folder: Path, four: list[str]
) -> None:
    (folder / HISTORY).unlink()
    assert rollback_version(folder) == four[2]
    assert rollback(folder) == four[2]
    assert rollback(folder) == four[1]


def test_rollback_after_the_first_publication_without_a_history(
    folder: Path, four: list[str], tiny_model: bytes
) -> None:
    (folder / HISTORY).unlink()
    publish(folder, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert rollback(folder) == four[3]


@pytest.mark.parametrize("content", [b"", b"\xff\0\n../..\n", b"20300101T000000Z-0123abcd\n"])
def test_broken_history_lines_are_ignored(folder: Path, four: list[str], content: bytes) -> None:
    (folder / HISTORY).write_bytes(content)
    assert rollback_version(folder) in {*four, None}


@pytest.mark.parametrize("version", ["20300101T000000Z-0123abcd", "..", "../store", ""])
def test_promote_refuses_an_unknown_version(folder: Path, four: list[str], version: str) -> None:
    with pytest.raises(BundleError, match="has no version"):
        promote(folder, version)
    assert current_version(folder) == four[3]


def test_promote_refuses_a_version_with_changed_files(folder: Path, four: list[str]) -> None:
    data = (folder / four[2] / MODEL).read_bytes()
    (folder / four[2] / MODEL).write_bytes(data[:-1] + b"?")
    with pytest.raises(BundleIncomplete, match="checksum"):
        promote(folder, four[2])
    with pytest.raises(BundleIncomplete, match="checksum"):
        rollback(folder)
    assert current_version(folder) == four[3]


def test_writers_refuse_a_missing_store(tmp_path: Path) -> None:
    with pytest.raises(NoBundle, match="no such folder"):
        rollback(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


# --- the current version -------------------------------------------------------------------


def test_versions_of_a_missing_store_are_empty(tmp_path: Path) -> None:
    assert versions(tmp_path / "absent") == []


def test_set_current_accepts_an_older_version(store: Path, path: Path, other_model: bytes) -> None:
    publish(store, {MODEL: other_model}, bundle_facts(other_model))
    set_current(store, path.name)
    assert current_version(store) == path.name
    assert hidden(store) == set()


def test_set_current_refuses_an_unknown_version(store: Path, path: Path) -> None:
    with pytest.raises(BundleError, match="no version nowhere"):
        set_current(store, "nowhere")
    assert current_version(store) == path.name


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"  \n", b"..", b".", b"../elsewhere", b"/etc", b"a/b", b".hidden",
        b"\xff\xfe", b"\0" * 26, b"20300101T000000Z-12345678\0", b"one\ntwo",
    ],
)  # fmt: skip
def test_current_version_refuses_an_invalid_name(store: Path, path: Path, content: bytes) -> None:
    (store / CURRENT).write_bytes(content)
    with pytest.raises(NoBundle, match=CURRENT):
        current_version(store)


def test_current_version_of_an_empty_store_names_the_fit_command(tmp_path: Path) -> None:
    with pytest.raises(NoBundle, match="python -m training fit"):
        current_version(tmp_path)
    with pytest.raises(NoBundle, match="python -m training fit"):
        current_version(tmp_path / "absent")


def test_current_version_refuses_an_unreadable_pointer(tmp_path: Path) -> None:
    (tmp_path / CURRENT).mkdir()
    with pytest.raises(NoBundle, match="cannot be read"):
        current_version(tmp_path)


# --- pruning -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(0, [0, 3]), (1, [0, 3]), (2, [0, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])],
)
def test_prune_keeps_newest_current_and_rollback_versions(
    folder: Path, four: list[str], keep: int, kept: list[int]
) -> None:
    promote(folder, four[0])  # the newest is now the target of a rollback
    removed = prune(folder, keep=keep)
    assert versions(folder) == [four[index] for index in kept]
    assert sorted([*removed, *versions(folder)]) == four
    assert hidden(folder) == set()
    assert rollback(folder) == four[3]


def test_prune_without_a_current_version_removes_nothing(folder: Path, four: list[str]) -> None:
    (folder / CURRENT).unlink()
    with pytest.raises(NoBundle):
        prune(folder, keep=0)
    assert versions(folder) == four


# --- a kill at any moment ------------------------------------------------------------------


class Killed(BaseException):
    """Simulation of `kill -9`: no product code catches it."""


def _operations(folder: Path, four: list[str]) -> dict[str, Callable[[], object]]:
    return {
        "promote": lambda: promote(folder, four[0]),
        "rollback": lambda: rollback(folder),
        "prune": lambda: prune(folder, keep=1),
    }


@pytest.mark.parametrize("name", ["promote", "rollback", "prune"])
def test_kill_at_any_step_leaves_a_usable_store(
    name: str, folder: Path, four: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    died_at = 0
    for step in range(1, 50):
        promote(folder, four[3])
        left = step

        def counting(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for owner, step_name in [
                (fsync, "write"), (fsync, "sync_folder"), (Path, "rename"),
                (Path, "replace"), (Path, "unlink"), (shutil, "rmtree"),
            ]:  # fmt: skip
                patch.setattr(owner, step_name, counting(getattr(owner, step_name)))
            try:
                _operations(folder, four)[name]()
            except Killed:
                died_at = step
        # Readers open a whole bundle, and the next writer works.
        assert open_bundle(folder / current_version(folder))
        assert rollback_version(folder) in {*versions(folder), None}
        assert rollback_version(folder) != current_version(folder)
        if left > 0:
            break
    assert died_at >= 3
    prune(folder, keep=4)
    assert hidden(folder) == set()


def test_concurrent_writers_take_turns(folder: Path, four: list[str], tiny_model: bytes) -> None:
    facts = bundle_facts(tiny_model)
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  asserted below
            failures.append(error)

    works: list[Callable[[], object]] = [
        lambda: publish(folder, {MODEL: tiny_model}, facts),
        lambda: promote(folder, four[1]),
        lambda: prune(folder, keep=10),
        lambda: publish(folder, {MODEL: tiny_model}, facts),
    ]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not failures
    assert len(versions(folder)) == 6
    assert (folder / HISTORY).read_text().split()[-1] == current_version(folder)


# --- unusual files ------------------------------------------------------------------------


def test_symlinked_file_is_refused(folder: Path, four: list[str]) -> None:
    path = folder / four[3]
    outside = folder.parent / "outside"
    (path / MODEL).rename(outside)  # the very bytes that were published, but elsewhere
    (path / MODEL).symlink_to(outside)
    with pytest.raises(
        BundleIncomplete, match=r"model\.pt is a link: a bundle holds regular files"
    ):
        read_files(path, read_manifest(path))


def test_pipe_is_refused_without_waiting(folder: Path, four: list[str]) -> None:
    path = folder / four[3]
    (path / MODEL).unlink()
    os.mkfifo(path / MODEL)
    with pytest.raises(BundleIncomplete, match="not a regular file"):
        read_files(path, read_manifest(path))


def test_oversized_manifest_is_refused(
    folder: Path, four: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MAX_SMALL_BYTES", 1000)
    with pytest.raises(BundleIncomplete, match="too large"):
        read_manifest(folder / four[3])


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b"])
def test_file_name_outside_the_bundle_is_refused_unread(
    folder: Path, four: list[str], name: str
) -> None:
    path = folder / four[3] / MANIFEST
    document = json.loads(path.read_text())
    document["files"][name] = document["files"][MODEL]
    path.write_text(json.dumps(document))
    with pytest.raises(SchemaUnsupported, match="plain file name"):
        read_manifest(folder / four[3])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_temporary_read_error_raises_bundle_unreadable(
    folder: Path, four: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / four[3]
    manifest = read_manifest(path)

    def fail(path: Path, flags: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(BundleUnreadable, match=os.strerror(code)):
        read_files(path, manifest)


@pytest.mark.parametrize("name", [CURRENT, HISTORY])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "large"])
def test_pointer_and_history_are_read_as_bounded_regular_files(
    folder: Path, four: list[str], name: str, kind: str
) -> None:
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "device":
        (folder / name).symlink_to("/dev/zero")
    elif kind == "folder":
        (folder / name).mkdir()
    elif kind == "loop":
        (folder / name).symlink_to(name)
    else:
        with open(folder / name, "wb") as file:
            file.truncate(2**33)
    if name == CURRENT:
        with pytest.raises(NoBundle):
            current_version(folder)
    else:  # as without a history
        assert rollback_version(folder) in (four[2], None)


def test_pointer_that_is_a_link_to_a_regular_file_is_followed(
    folder: Path, four: list[str]
) -> None:
    (folder / CURRENT).rename(folder / "pointer")
    (folder / CURRENT).symlink_to("pointer")
    assert current_version(folder) == four[3]


def test_pointer_that_cannot_be_read_is_not_an_empty_store(folder: Path, four: list[str]) -> None:
    (folder / CURRENT).unlink()
    (folder / CURRENT).symlink_to("nowhere")
    with pytest.raises(PointerUnreadable, match="No such file"):
        current_version(folder)


def sync_failing(code: int, monkeypatch: pytest.MonkeyPatch, *, after: int = 0) -> None:
    """Let each sync of a folder fail, but for the first ones."""
    sync, left = os.fsync, after

    def fail(handle: int) -> None:
        nonlocal left
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            left -= 1
            if left < 0:
                raise OSError(code, os.strerror(code))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_file_system_that_cannot_sync_folders_holds_a_store(
    folder: Path, four: list[str], tiny_model: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_failing(code, monkeypatch)
    promote(folder, four[0])
    assert rollback(folder) == four[3] == current_version(folder)
    published = publish(folder, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert current_version(folder) == published.manifest.version
    assert prune(folder, keep=1) == four[:3]


def test_failing_disk_stops_a_change(
    folder: Path, four: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_failing(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match="Input/output error"):
        promote(folder, four[0])
    assert current_version(folder) == four[3]


def test_failing_disk_after_the_change_is_reported_as_it_is(
    folder: Path, four: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_failing(errno.EIO, monkeypatch, after=1)
    with pytest.raises(StoreNotSynced, match=f"{four[0]} is current, but the disk"):
        promote(folder, four[0])
    assert current_version(folder) == four[0]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
def test_file_system_without_locks_holds_a_store(
    folder: Path,
    four: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(handle: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    promote(folder, four[0])
    assert current_version(folder) == four[0]
    assert "without locks" in caplog.text


def test_prune_removes_folders_that_cannot_be_renamed(
    folder: Path, four: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", fail)
    assert prune(folder, keep=1) == four[:2]
    assert versions(folder) == four[2:]
    assert not (folder / four[0]).exists()


def test_checkout_has_one_store_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[3]
    monkeypatch.chdir(root)
    assert checkout_store() == Path("models/artifacts")
    monkeypatch.chdir(tmp_path)
    assert checkout_store() == root / "models/artifacts"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert checkout_store() == root / "models/artifacts"
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / "site-packages/models/bundle/store.py"
    monkeypatch.setattr(module, "__file__", str(installed))
    assert checkout_store() == Path("models/artifacts")
