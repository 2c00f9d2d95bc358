"""The store without its models: what is served, what was before, and what may go."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import fsync, store
from models.bundle.load import open_bundle, publish
from models.bundle.store import (
    CURRENT,
    HISTORY,
    MANIFEST,
    MODEL,
    current_version,
    promote,
    prune,
    read_files,
    read_manifest,
    rollback,
    served_before,
    versions,
)
from models.errors import BundleError, BundleIncomplete, NoBundle, SchemaUnsupported
from tests.conftest import bundle_facts


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


def test_each_publication_is_remembered(folder: Path, four: list[str]) -> None:
    assert (folder / HISTORY).read_text().split() == four
    assert served_before(folder) == four[2]


def test_a_rollback_turns_to_what_was_served_before_and_further_back_each_time(
    folder: Path, four: list[str]
) -> None:
    promote(folder, four[0])
    assert current_version(folder) == four[0]
    for wanted in (four[3], four[2], four[1], four[0]):
        assert rollback(folder) == wanted == current_version(folder)
    with pytest.raises(BundleError, match="served before the current one"):
        rollback(folder)
    assert current_version(folder) == four[0]
    assert hidden(folder) == set()


def test_a_rollback_skips_versions_that_are_gone(folder: Path, four: list[str]) -> None:
    (folder / four[2]).rename(folder.parent / "gone")
    assert rollback(folder) == four[1]


def test_a_store_from_before_histories_rolls_back_to_the_next_older(
    folder: Path, four: list[str]
) -> None:
    (folder / HISTORY).unlink()
    assert served_before(folder) == four[2]
    assert rollback(folder) == four[2]
    assert rollback(folder) == four[1]


def test_the_first_publication_in_such_a_store_can_be_rolled_back(
    folder: Path, four: list[str], tiny_model: bytes
) -> None:
    (folder / HISTORY).unlink()
    publish(folder, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert rollback(folder) == four[3]


@pytest.mark.parametrize("content", [b"", b"\xff\0\n../..\n", b"20300101T000000Z-0123abcd\n"])
def test_a_broken_history_names_no_stranger(folder: Path, four: list[str], content: bytes) -> None:
    (folder / HISTORY).write_bytes(content)
    assert served_before(folder) in {*four, None}


@pytest.mark.parametrize("version", ["20300101T000000Z-0123abcd", "..", "../store", ""])
def test_what_is_not_there_is_not_promoted(folder: Path, four: list[str], version: str) -> None:
    with pytest.raises(BundleError, match="has no version"):
        promote(folder, version)
    assert current_version(folder) == four[3]


def test_a_version_whose_files_have_changed_is_not_promoted(folder: Path, four: list[str]) -> None:
    data = (folder / four[2] / MODEL).read_bytes()
    (folder / four[2] / MODEL).write_bytes(data[:-1] + b"?")
    with pytest.raises(BundleIncomplete, match="checksum"):
        promote(folder, four[2])
    with pytest.raises(BundleIncomplete, match="checksum"):
        rollback(folder)
    assert current_version(folder) == four[3]


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NoBundle, match="no such folder"):
        rollback(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


# --- what goes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(0, [0, 3]), (1, [0, 3]), (2, [0, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])],
)
def test_pruning_keeps_the_newest_the_current_and_the_one_to_roll_back_to(
    folder: Path, four: list[str], keep: int, kept: list[int]
) -> None:
    promote(folder, four[0])  # a rollback would turn to the newest
    removed = prune(folder, keep=keep)
    assert versions(folder) == [four[place] for place in kept]
    assert sorted([*removed, *versions(folder)]) == four
    assert hidden(folder) == set()
    assert rollback(folder) == four[3]


def test_without_a_current_version_nothing_is_pruned(folder: Path, four: list[str]) -> None:
    (folder / CURRENT).unlink()
    with pytest.raises(NoBundle):
        prune(folder, keep=0)
    assert versions(folder) == four


# --- a kill at any moment ------------------------------------------------------------------


class Killed(BaseException):
    """Stands for `kill -9`: nothing of ours catches it."""


def _operations(folder: Path, four: list[str]) -> dict[str, Callable[[], object]]:
    return {
        "promote": lambda: promote(folder, four[0]),
        "rollback": lambda: rollback(folder),
        "prune": lambda: prune(folder, keep=1),
    }


@pytest.mark.parametrize("name", ["promote", "rollback", "prune"])
def test_a_kill_at_any_step_leaves_a_store_that_serves_and_goes_on(
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
        # Readers meet a whole bundle, and the next writer goes on.
        assert open_bundle(folder / current_version(folder))
        assert served_before(folder) in {*versions(folder), None}
        assert served_before(folder) != current_version(folder)
        if left > 0:
            break
    assert died_at >= 3
    prune(folder, keep=4)
    assert hidden(folder) == set()


def test_publishers_and_promoters_take_turns(
    folder: Path, four: list[str], tiny_model: bytes
) -> None:
    facts = bundle_facts(tiny_model)
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  told below
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
        thread.join(60)
    assert not failures
    assert len(versions(folder)) == 6
    assert (folder / HISTORY).read_text().split()[-1] == current_version(folder)


# --- files that lead elsewhere -------------------------------------------------------------


def test_a_link_out_of_the_bundle_is_not_followed(folder: Path, four: list[str]) -> None:
    path = folder / four[3]
    outside = folder.parent / "outside"
    (path / MODEL).rename(outside)  # the very bytes that were published, but elsewhere
    (path / MODEL).symlink_to(outside)
    with pytest.raises(BundleIncomplete, match="cannot be read"):
        read_files(path, read_manifest(path))


def test_a_pipe_is_not_waited_for(folder: Path, four: list[str]) -> None:
    path = folder / four[3]
    (path / MODEL).unlink()
    os.mkfifo(path / MODEL)
    with pytest.raises(BundleIncomplete, match="no plain file"):
        read_files(path, read_manifest(path))


def test_a_manifest_without_end_is_not_read_to_it(
    folder: Path, four: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MAX_SMALL_BYTES", 1000)
    with pytest.raises(BundleIncomplete, match="too large"):
        read_manifest(folder / four[3])


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused_before_it_is_read(
    folder: Path, four: list[str], name: str
) -> None:
    path = folder / four[3] / MANIFEST
    document = json.loads(path.read_text())
    document["files"][name] = document["files"][MODEL]
    path.write_text(json.dumps(document))
    with pytest.raises(SchemaUnsupported, match="plain file name"):
        read_manifest(folder / four[3])
