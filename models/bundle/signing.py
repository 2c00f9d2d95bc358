"""Signature of a bundle: a detached Ed25519 signature over its manifest's exact bytes.

The manifest holds the checksum of every other file, so that its signature covers them all.

    manifest.sig    one line: the signature (RFC 8032, 64 bytes) in Base64
    private key     PEM, PKCS #8, unencrypted; for the training job only
    public key      PEM, or its 32 bytes in Base64, as `python -m models keygen` prints them
"""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from models.bundle.files import read_small
from models.errors import BundleIncomplete, BundleUntrusted, KeyUnusable, reason_of

SIGNATURE: Final = "manifest.sig"

PrivateKey = Ed25519PrivateKey
PublicKey = Ed25519PublicKey


def sign(key: PrivateKey, manifest: bytes) -> bytes:
    """Return the content of a signature file."""
    return base64.b64encode(key.sign(manifest)) + b"\n"


def check_signature(path: Path, manifest: bytes, keys: Sequence[PublicKey]) -> None:
    """Check the signature beside a manifest.

    Args:
        path: The bundle's folder.
        manifest: The manifest's bytes, as read.
        keys: Trusted keys, one of which must have signed.

    Raises:
        BundleUntrusted: No trusted key has signed these bytes.
    """
    try:
        signed = base64.b64decode(read_small(path / SIGNATURE).strip(), validate=True)
    except BundleIncomplete as error:
        raise BundleUntrusted(
            f"{path} is not signed, and only signed bundles are opened."
        ) from error
    except binascii.Error as error:
        raise BundleUntrusted(f"{path / SIGNATURE} does not hold a signature.") from error
    for key in keys:
        try:
            key.verify(signed, manifest)
        except InvalidSignature:
            continue
        return
    raise BundleUntrusted(f"{path} is signed by none of the {len(keys)} trusted keys.")


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key to sign with.

    Raises:
        KeyUnusable: The file cannot be read, or does not hold an Ed25519 private key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyUnusable(f"The key {path} cannot be read ({reason_of(error)}).") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise KeyUnusable(f"{path} is not an unencrypted private key in PEM.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} is a private key, but not of Ed25519.")
    return key


def load_public_keys(text: str) -> list[PublicKey]:
    """Read trusted keys.

    Args:
        text: Comma-separated PEM files, or keys of 32 bytes in Base64. Empty for none.

    Raises:
        KeyUnusable: An element is neither, or a text that is not empty holds none.
    """
    # "," must not mean "no key is needed".
    parts = [part.strip() for part in text.split(",")] if text else []
    return [_public_key(part, f"Key {number}") for number, part in enumerate(parts, 1)]


def generate_keys(path: Path) -> PublicKey:
    """Write a new private key, readable by its owner only, and PATH.pub beside it.

    Raises:
        KeyUnusable: One of the two files exists already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_name(f"{path.name}.pub")
    for file in (path, beside):
        if file.exists():
            raise KeyUnusable(f"{file} exists already, and is not replaced.")
    for file, data, mode in ((path, private, 0o600), (beside, public, 0o644)):
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise KeyUnusable(f"{file} cannot be created ({reason_of(error)}).") from error
        with open(handle, "wb") as opened:
            opened.write(data)
    return key.public_key()


def to_base64(key: PublicKey) -> str:
    """Return a public key as its 32 bytes in Base64."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def _public_key(given: str, name: str) -> PublicKey:
    """Read a key; errors do not repeat it, as it may be a private one."""
    try:
        raw = base64.b64decode(given, validate=True)
        if len(raw) == 32:
            return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:  # binascii's, or a character outside ASCII
        pass  # a file, then
    try:
        key = serialization.load_pem_public_key(Path(given).read_bytes())
    except OSError as error:
        raise KeyUnusable(
            f"{name} is neither a public key of 32 bytes in Base64 nor a file that can be "
            f"read ({reason_of(error)})."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:  # or a null byte in the name
        raise KeyUnusable(f"{name} is a file, but not a public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{name} is a public key, but not of Ed25519.")
    return key
