"""A full disk and a read-only volume: an error that names them, and an unchanged store."""

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import models.__main__
import training.__main__
from models.bundle.files import MODEL
from models.bundle.load import open_bundle
from models.bundle.publish import publish
from models.bundle.store import current_version, promote, rollback_version, versions
from tests import WAIT_S
from tests.models.tiny_bundle import bundle_facts
from tests.process.disks import Disk, small_disk
from tests.process.test_serving_process import Service, becomes
from tests.service.fixtures import code_of, files_of, publish_bundle

FULL, READ_ONLY = "No space left on device", "Read-only file system"


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def contents(folder: Path) -> dict[str, str]:
    """Return each file's name and checksum."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def spoil(disk: Disk, how: str) -> None:
    if how == FULL:
        disk.fill()
    else:
        disk.make_read_only()


@pytest.mark.parametrize("how", [FULL, READ_ONLY])
def test_unwritable_store_stays_unchanged_and_serves(
    how: str, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    store = disk.path / "store"
    first, second = publish_bundle(store).manifest.version, publish_bundle(store).manifest.version
    service = Service(store)
    try:
        with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
            becomes(client, 200)
            before = contents(store)
            spoil(disk, how)
            for command in (["promote", first], ["rollback"]):
                assert models.__main__.main([*command, "--store", str(store)]) == 6
                told = capsys.readouterr().err
                assert told == f"error: {store} cannot be changed ({how}).\n"
            with pytest.raises(OSError, match=how):
                publish_bundle(store, documents={"large.bin": bytes(2**20)})
            assert contents(store) == before
            for command in (["list"], ["show"], ["verify"]):
                assert models.__main__.main([*command, "--store", str(store)]) == 0
            assert rollback_version(store) == first
            answer = client.post("/predict", files=files_of(7)).json()
            assert answer["model"]["version"] == current_version(store) == second
            assert code_of(answer["predictions"][0]) == 7
    finally:
        status, errors = service.stop()
    assert status == 0
    assert "Traceback" not in errors
    # It also starts on such a store.
    service = Service(store)
    try:
        with httpx.Client(base_url=service.address, timeout=WAIT_S) as client:
            assert becomes(client, 200).json()["model"]["version"] == second
    finally:
        service.stop()


def test_publish_works_again_once_the_disk_has_room(disk: Disk, tiny_model: bytes) -> None:
    store = disk.path / "store"
    facts = bundle_facts(tiny_model)
    old = publish(store, {MODEL: tiny_model}, facts).manifest.version
    disk.fill()
    with pytest.raises(OSError, match=FULL) as caught:
        publish(store, {MODEL: tiny_model}, facts)
    assert caught.value.errno == errno.ENOSPC
    assert versions(store) == [old]
    (disk.path / "filler").unlink()
    new = publish(store, {MODEL: tiny_model}, facts).manifest.version
    assert open_bundle(store / current_version(store)).manifest.version == new
    promote(store, old)


@pytest.mark.parametrize("how", [FULL, READ_ONLY])
def test_sample_on_an_unwritable_disk_prints_one_error(
    how: str, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(disk, how)
    target = disk.path / "sample"
    assert training.__main__.main(["sample", str(target), "--per-class", "2"]) == 6
    assert capsys.readouterr().err.endswith(f"error: {target} cannot be written ({how}).\n")
    assert {item.name for item in disk.path.iterdir()} <= {"filler"}
