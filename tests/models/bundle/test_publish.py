"""Publication: atomic, in order, one writer at a time."""

import hashlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle.files import MANIFEST, MODEL, read_manifest
from models.bundle.load import answer, open_bundle
from models.bundle.publish import publish
from models.bundle.store import current_version, versions
from models.errors import (
    BundleIncomplete,
    GoldenMismatch,
    SchemaUnsupported,
    StoreNotSynced,
)
from tests import WAIT_S
from tests.models.tiny_bundle import TINY_PX, TinyGraph, bundle_facts


def hidden(store: Path) -> set[str]:
    """Return the names of leftovers: hidden files but the lock."""
    return {item.name for item in store.iterdir() if item.name.startswith(".")} - {".lock"}


def test_published_bundle_is_current_and_opens(store: Path, path: Path, tiny_model: bytes) -> None:
    assert path == store / current_version(store)
    assert (path / MODEL).read_bytes() == tiny_model
    assert hidden(store) == set()
    opened = open_bundle(path)
    assert opened.path == path
    assert opened.manifest == read_manifest(path)
    assert opened.manifest.labels == ["cat", "dog"]
    pixels = torch.randint(
        0, 256, (3, 3, TINY_PX, TINY_PX), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    wanted = TinyGraph()(pixels)
    found = answer(opened.model, pixels)
    assert torch.allclose(found.probabilities, wanted[0])
    assert torch.allclose(found.activation, wanted[1])
    assert found.distance is None


def test_publish_returns_the_bundle_at_its_final_path(store: Path, tiny_model: bytes) -> None:
    given = publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert given.path.is_dir()
    assert given.manifest == open_bundle(given.path).manifest


def test_version_names_publication_time_and_model_checksum(path: Path, tiny_model: bytes) -> None:
    manifest = read_manifest(path)
    stamp, digest = manifest.version.split("-")
    assert stamp == manifest.created_at.strftime("%Y%m%dT%H%M%SZ")
    assert abs(datetime.now(UTC) - manifest.created_at) < timedelta(minutes=5)
    assert digest == hashlib.sha256(tiny_model).hexdigest()[:8]


def test_all_files_are_verified(store: Path, tiny_model: bytes) -> None:
    files = {MODEL: tiny_model, "notes.txt": b"hello"}
    given = publish(store, files, bundle_facts(tiny_model))
    (given.path / "notes.txt").write_bytes(b"hellO")
    with pytest.raises(BundleIncomplete, match=r"notes\.txt.*checksum"):
        open_bundle(given.path)


def test_versions_sort_by_age_and_the_newest_is_current(
    store: Path, tiny_model: bytes, other_model: bytes
) -> None:
    published = [
        publish(store, {MODEL: model}, bundle_facts(model)).manifest.version
        for model in (other_model, tiny_model, other_model)
    ]
    assert versions(store) == published == sorted(published)
    assert current_version(store) == published[-1]


def test_versions_stay_in_order_if_the_clock_goes_back(
    store: Path, tiny_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        moments: Iterator[datetime] = iter(
            [
                datetime(2031, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC),
                datetime(2030, 1, 1, tzinfo=UTC),
                datetime(2031, 1, 1, 11, 59, 59, tzinfo=UTC),
                datetime(2032, 1, 1, tzinfo=UTC),
            ]
        )
        strptime = datetime.strptime

        @classmethod
        def now(cls, zone: object) -> datetime:
            return next(cls.moments)

    monkeypatch.setattr("models.bundle.publish.datetime", Clock)
    facts = bundle_facts(tiny_model)
    published = [publish(store, {MODEL: tiny_model}, facts).manifest.version for _ in range(4)]
    assert [version.split("-")[0] for version in published] == [
        "20310101T120000Z",
        "20310101T120001Z",
        "20310101T120002Z",
        "20320101T000000Z",
    ]
    assert versions(store) == published


def test_foreign_folders_in_the_store_are_ignored(
    store: Path, path: Path, tiny_model: bytes
) -> None:
    path.rename(store / "zz-my-backup")
    given = publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert versions(store) == [given.manifest.version]


def assert_sound(store: Path, version: str) -> None:
    assert current_version(store) == version
    assert open_bundle(store / version).manifest.version == version


class Dies:
    """Call the original, but raise at the n-th call."""

    def __init__(self, original: Callable[..., Any], at: int, error: BaseException) -> None:
        self._original, self._at, self._error, self.calls = original, at, error, 0

    def bind(self) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                raise self._error
            return self._original(*arguments, **named)

        return call


STEPS = [
    *[("models.bundle.fsync.write", n) for n in (1, 2, 3, 4)],
    *[("os.fsync", n) for n in range(1, 9)],
    ("pathlib.Path.mkdir", 2),
    ("pathlib.Path.rename", 1),
    ("pathlib.Path.replace", 1),
    ("pathlib.Path.replace", 2),
    ("models.bundle.publish.open_bundle", 1),
    ("models.bundle.publish.set_current", 1),
]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("target", "at"), STEPS)
def test_kill_at_any_step_of_publish_leaves_a_sound_store(
    store: Path,
    path: Path,
    other_model: bytes,
    target: str,
    at: int,
    error: BaseException,
) -> None:
    dies = Dies(pkgutil.resolve_name(target), at, error)
    facts = bundle_facts(other_model)
    last = target == "os.fsync" and at == 8  # which only syncs what is done
    expected = StoreNotSynced if last and isinstance(error, OSError) else type(error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, dies.bind())
        with pytest.raises(expected):
            publish(store, {MODEL: other_model}, facts)
    assert dies.calls >= at
    new = versions(store)[-1]
    assert_sound(store, new if last else path.name)
    given = publish(store, {MODEL: other_model}, facts)
    assert_sound(store, given.manifest.version)
    assert hidden(store) == set()


def test_publish_removes_leftovers_of_a_killed_run(
    store: Path, path: Path, tiny_model: bytes
) -> None:
    (store / ".publishing-dead").mkdir()
    (store / ".publishing-dead" / MODEL).write_bytes(b"half")
    (store / ".CURRENT-dead").write_bytes(b"2030")
    publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert hidden(store) == set()


def test_publish_refuses_a_bundle_that_does_not_verify(
    store: Path, path: Path, other_model: bytes
) -> None:
    wrong = bundle_facts(other_model) | {"golden": read_manifest(path).golden}
    with pytest.raises(GoldenMismatch):
        publish(store, {MODEL: other_model}, wrong)
    assert versions(store) == [path.name]
    assert_sound(store, path.name)
    assert hidden(store) == set()


@pytest.mark.parametrize("name", ["../escaped.txt", "/tmp/escaped", ""])
def test_publish_refuses_a_file_outside_the_bundle(
    store: Path, tiny_model: bytes, name: str
) -> None:
    with pytest.raises(SchemaUnsupported, match="not a plain file name"):
        publish(store, {MODEL: tiny_model, name: b"x"}, bundle_facts(tiny_model))
    assert {item.name for item in store.iterdir()} == {".lock"}


def test_publish_into_a_file_raises_an_os_error(tmp_path: Path, tiny_model: bytes) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        publish(tmp_path / "store", {MODEL: tiny_model}, bundle_facts(tiny_model))


def test_concurrent_publishers_add_one_version_each(store: Path, tiny_model: bytes) -> None:
    published: list[str] = []
    start = threading.Barrier(4)
    facts = bundle_facts(tiny_model)

    def run() -> None:
        start.wait(WAIT_S)
        published.append(publish(store, {MODEL: tiny_model}, facts).manifest.version)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(published) == versions(store)
    assert len(set(published)) == 4
    assert_sound(store, versions(store)[-1])


def test_reader_never_opens_half_a_bundle(
    store: Path, tiny_model: bytes, other_model: bytes
) -> None:
    publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    done = threading.Event()
    seen: list[str] = []
    failures: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(open_bundle(store / current_version(store)).manifest.version)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for model in (other_model, tiny_model, other_model):
            publish(store, {MODEL: model}, bundle_facts(model))
    finally:
        done.set()
        reader.join(WAIT_S)
    assert failures == []
    assert seen == sorted(seen)
    assert set(seen) <= set(versions(store))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": ["cat", "cat"]}, "labels: 'cat' is repeated"),
        ({"labels": ["cat", ""]}, "blank"),
        ({"labels": ["cat", "d" * 300]}, "255 characters"),
        ({"labels": ["cat", "do\ng"]}, "cannot be shown"),
        ({"metrics": {"cross_validation": {"mean_score": "high"}}}, "cross_validation.mean_score"),
    ],
)
def test_publish_refuses_facts_that_break_the_schema(
    store: Path, path: Path, tiny_model: bytes, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SchemaUnsupported, match="No bundle is made: ") as caught:
        publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model) | change)
    assert sentence in str(caught.value)
    assert versions(store) == [path.name]


@pytest.mark.parametrize("name", ["99999999T999999Z-00000000", "99991231T235959Z-00000000"])
def test_version_with_an_invalid_time_does_not_stop_publication(
    store: Path, path: Path, other_model: bytes, name: str
) -> None:
    (store / name).mkdir()
    (store / name / MANIFEST).write_text("{}")
    published = publish(store, {MODEL: other_model}, bundle_facts(other_model))
    assert current_version(store) == published.manifest.version
