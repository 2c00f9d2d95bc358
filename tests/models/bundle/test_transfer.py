"""Tests of `models.bundle.transfer`."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.bundle import transfer
from models.bundle.load import open_bundle
from models.bundle.publish import publish
from models.bundle.signing import generate_keys, load_private_key
from models.bundle.store import current_version, versions
from models.bundle.transfer import fetch, pack
from models.errors import BundleError, BundleIncomplete, BundleUnreadable, NoBundle
from tests.models.tiny_bundle import bundle_facts


@pytest.fixture
def store(tmp_path: Path, tiny_model: bytes) -> Path:
    files = {"model.pt": tiny_model, "report.html": b"<p>"}
    publish(tmp_path / "store", files, bundle_facts(tiny_model))
    return tmp_path / "store"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_packed_bundle_is_fetched_whole(store: Path, tmp_path: Path, server: str) -> None:
    version = current_version(store)
    checksum = pack(store, version, tmp_path / "model.tar")
    assert checksum == _sha256(tmp_path / "model.tar")

    for address in (f"{server}/model.tar", str(tmp_path / "model.tar")):
        target = tmp_path / f"target-{len(address)}"
        assert fetch(address, checksum.upper(), target) == version
        assert current_version(target) == version
        names = sorted(path.name for path in (target / version).iterdir())
        assert names == ["manifest.json", "model.pt", "report.html"]
        open_bundle(target / version)


def test_same_version_packs_to_the_same_bytes(store: Path, tmp_path: Path) -> None:
    version = current_version(store)
    assert pack(store, version, tmp_path / "a.tar") == pack(store, version, tmp_path / "b.tar")


def test_signature_travels(tmp_path: Path, tiny_model: bytes) -> None:
    public = generate_keys(tmp_path / "key")
    key = load_private_key(tmp_path / "key")
    publish(tmp_path / "store", {"model.pt": tiny_model}, bundle_facts(tiny_model), key=key)
    version = current_version(tmp_path / "store")
    checksum = pack(tmp_path / "store", version, tmp_path / "model.tar")
    fetch(str(tmp_path / "model.tar"), checksum, tmp_path / "target")
    open_bundle(tmp_path / "target" / version, trusted=[public])


def test_fetch_again_changes_nothing(store: Path, tmp_path: Path) -> None:
    checksum = pack(store, current_version(store), tmp_path / "model.tar")
    for _ in range(2):
        fetch(str(tmp_path / "model.tar"), checksum, tmp_path / "target")
    assert len(versions(tmp_path / "target")) == 1
    assert len((tmp_path / "target" / "HISTORY").read_text().splitlines()) == 1


def test_fetch_without_promotion_leaves_the_pointer(store: Path, tmp_path: Path) -> None:
    checksum = pack(store, current_version(store), tmp_path / "model.tar")
    fetch(str(tmp_path / "model.tar"), checksum, tmp_path / "target", promote=False)
    assert len(versions(tmp_path / "target")) == 1
    with pytest.raises(NoBundle):
        current_version(tmp_path / "target")


def _other_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 1000] ^= 1  # within model.pt
    path.write_bytes(data)


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def _no_tar(path: Path) -> None:
    path.write_bytes(b"no tar" * 1000)


def _member(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            archive.addfile(member, io.BytesIO())

    return add


@pytest.mark.parametrize(
    ("damage", "renew", "sentence"),
    [
        (_other_byte, False, "has the checksum"),
        (_other_byte, True, "model"),
        (_half, True, "not a packed bundle|manifest|missing"),
        (_no_tar, True, "not a packed bundle"),
        (_member("../evil"), True, "evil"),
        (_member("sub/file"), True, "sub/file"),
        (_member(".."), True, "which no bundle has"),
        (_member("link", tarfile.SYMTYPE), True, "link"),
        (_member("manifest.json"), True, "manifest"),
    ],
)
def test_broken_file_is_refused_and_leaves_nothing(
    store: Path, tmp_path: Path, damage: Callable[[Path], None], renew: bool, sentence: str
) -> None:
    packed = tmp_path / "model.tar"
    checksum = pack(store, current_version(store), packed)
    damage(packed)
    with pytest.raises(BundleError, match=sentence):
        fetch(str(packed), _sha256(packed) if renew else checksum, tmp_path / "target")
    assert versions(tmp_path / "target") == []
    assert [path.name for path in (tmp_path / "target").iterdir()] == [".lock"]
    assert not (tmp_path / "evil").exists()


def test_file_that_cannot_be_had_is_named(tmp_path: Path, server: str) -> None:
    for address, reason in (
        (f"{server}/nothing.tar", "status 404"),
        ("http://127.0.0.1:9/x", "refused"),
        (str(tmp_path / "nothing.tar"), "No such file"),
    ):
        with pytest.raises(BundleUnreadable, match=reason):
            fetch(address, "0" * 64, tmp_path / "target")


def test_file_that_is_too_large_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checksum = pack(store, current_version(store), tmp_path / "model.tar")
    monkeypatch.setattr(transfer, "MAX_PACKED_BYTES", 100)
    with pytest.raises(BundleIncomplete, match="over 100 bytes"):
        fetch(str(tmp_path / "model.tar"), checksum, tmp_path / "target")


def test_wrong_checksum_and_version_are_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="64 hexadecimal"):
        fetch("x", "12", tmp_path / "target")
    with pytest.raises(NoBundle, match="no version 1"):
        pack(store, "1", tmp_path / "model.tar")


def test_broken_version_is_not_packed(store: Path, tmp_path: Path) -> None:
    version = current_version(store)
    (store / version / "model.pt").write_bytes(b"broken")
    with pytest.raises(BundleIncomplete):
        pack(store, version, tmp_path / "model.tar")
    assert not (tmp_path / "model.tar").exists()
