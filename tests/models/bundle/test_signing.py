"""Signed bundles: opened with a trusted key's signature, not even loaded without."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from models.bundle.files import MANIFEST, MODEL
from models.bundle.load import open_bundle
from models.bundle.publish import publish
from models.bundle.signing import (
    SIGNATURE,
    PrivateKey,
    generate_keys,
    load_private_key,
    load_public_keys,
    sign,
    to_base64,
)
from models.errors import BundleIncomplete, BundleUntrusted, KeyUnusable
from tests.models.tiny_bundle import bundle_facts


@pytest.fixture(name="key")
def _key() -> PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)


@pytest.fixture(name="stranger")
def _stranger() -> PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(b"\2" * 32)


@pytest.fixture(name="signed")
def _signed(tmp_path: Path, tiny_model: bytes, key: PrivateKey) -> Path:
    return publish(tmp_path, {MODEL: tiny_model}, bundle_facts(tiny_model), key=key).path


def test_open_bundle_accepts_one_of_the_trusted_keys(
    signed: Path, key: PrivateKey, stranger: PrivateKey
) -> None:
    trusted = [stranger.public_key(), key.public_key()]
    assert open_bundle(signed, trusted=trusted).manifest.version == signed.name
    assert open_bundle(signed).manifest.version == signed.name


def test_signature_is_ed25519_over_the_manifest_s_bytes(signed: Path, key: PrivateKey) -> None:
    signature = base64.b64decode((signed / SIGNATURE).read_bytes())
    key.public_key().verify(signature, (signed / MANIFEST).read_bytes())


def _strip(signed: Path, stranger: PrivateKey) -> None:
    (signed / SIGNATURE).unlink()


def _sign_as_a_stranger(signed: Path, stranger: PrivateKey) -> None:
    (signed / SIGNATURE).write_bytes(sign(stranger, (signed / MANIFEST).read_bytes()))


def _add_a_space(signed: Path, stranger: PrivateKey) -> None:
    (signed / MANIFEST).write_bytes((signed / MANIFEST).read_bytes() + b" ")


def _change_a_label(signed: Path, stranger: PrivateKey) -> None:
    document = json.loads((signed / MANIFEST).read_text())
    document["labels"].reverse()
    (signed / MANIFEST).write_text(json.dumps(document))


def _scribble(signed: Path, stranger: PrivateKey) -> None:
    (signed / SIGNATURE).write_bytes(b"not Base64!")


def _shorten(signed: Path, stranger: PrivateKey) -> None:
    (signed / SIGNATURE).write_bytes(base64.b64encode(b"\0" * 12))


def _link(signed: Path, stranger: PrivateKey) -> None:
    (signed / SIGNATURE).rename(signed.parent / "elsewhere")
    (signed / SIGNATURE).symlink_to(signed.parent / "elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [_strip, _sign_as_a_stranger, _add_a_space, _change_a_label, _scribble, _shorten, _link],
)
def test_untrusted_bundle_is_refused_before_its_code_is_loaded(
    spoil: Callable[[Path, PrivateKey], None], signed: Path, key: PrivateKey, stranger: PrivateKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    loaded: list[bytes] = []
    monkeypatch.setattr("models.bundle.load.load_graph", loaded.append)
    spoil(signed, stranger)
    with pytest.raises(BundleUntrusted):
        open_bundle(signed, trusted=[key.public_key()])
    assert not loaded


def test_signature_covers_other_files_by_their_checksums(
    signed: Path, key: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bytes] = []
    monkeypatch.setattr("models.bundle.load.load_graph", loaded.append)
    (signed / MODEL).write_bytes((signed / MODEL).read_bytes() + b"\0")
    with pytest.raises(BundleIncomplete, match="checksum"):
        open_bundle(signed, trusted=[key.public_key()])
    assert not loaded


def test_signature_of_another_version_is_refused(
    signed: Path, tiny_model: bytes, key: PrivateKey
) -> None:
    facts = bundle_facts(tiny_model)
    later = publish(signed.parent, {MODEL: tiny_model}, facts, key=key).path
    (later / SIGNATURE).write_bytes((signed / SIGNATURE).read_bytes())
    with pytest.raises(BundleUntrusted):
        open_bundle(later, trusted=[key.public_key()])
    (later / MANIFEST).write_bytes((signed / MANIFEST).read_bytes())
    with pytest.raises(BundleIncomplete, match="holds the bundle"):
        open_bundle(later, trusted=[key.public_key()])


# --- keys ----------------------------------------------------------------------------------


def test_generated_keys_sign_and_load_in_either_form(tmp_path: Path) -> None:
    path = tmp_path / "job.pem"
    public = generate_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signature = base64.b64decode(sign(load_private_key(path), b"text"))
    for text in (to_base64(public), f"{path}.pub", f" {path}.pub , {to_base64(public)}"):
        for key in load_public_keys(text):
            key.verify(signature, b"text")
    assert len(load_public_keys(f"{path}.pub,{to_base64(public)}")) == 2
    assert load_public_keys("") == []


@pytest.mark.parametrize("there", ["job.pem", "job.pem.pub"])
def test_generate_keys_never_replaces_a_file(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"precious")
    with pytest.raises(KeyUnusable, match="exists already"):
        generate_keys(tmp_path / "job.pem")
    assert [item.name for item in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_bytes() == b"precious"


def test_generate_keys_reports_an_unwritable_file(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot be created"):
        generate_keys(tmp_path / "absent" / "job.pem")


@pytest.mark.parametrize("text", [",", " ", "absent.pem", "AAAA", f"{'A' * 43}=,"])
def test_load_public_keys_refuses_nonsense(text: str) -> None:
    with pytest.raises(KeyUnusable):
        load_public_keys(text)


def test_keys_of_another_algorithm_are_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "other.pem", tmp_path / "other.pub"
    private.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(KeyUnusable, match="not of Ed25519"):
        load_private_key(private)
    with pytest.raises(KeyUnusable, match="not of Ed25519"):
        load_public_keys(str(public))
    with pytest.raises(KeyUnusable, match="not an unencrypted private key"):
        load_private_key(public)
    with pytest.raises(KeyUnusable, match="not a public key"):
        load_public_keys(str(private))


def test_load_private_key_refuses_encrypted_or_missing_files(
    tmp_path: Path, key: PrivateKey
) -> None:
    path = tmp_path / "locked.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(KeyUnusable, match="not an unencrypted"):
        load_private_key(path)
    with pytest.raises(KeyUnusable, match="cannot be read"):
        load_private_key(tmp_path / "absent.pem")
