"""Publication of a bundle: write beside its final path, verify, rename, make it current."""

import contextlib
import dataclasses
import hashlib
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from models.bundle import fsync, signing
from models.bundle.files import MANIFEST, MODEL, PARTIAL
from models.bundle.load import Bundle, open_bundle
from models.bundle.manifest import FileFacts, Manifest, schema_fault
from models.bundle.store import lock, remove_leftovers, set_current, versions
from models.errors import SchemaUnsupported

_VERSION_TIME: Final = "%Y%m%dT%H%M%SZ"


def publish(
    store: Path,
    files: Mapping[str, bytes],
    facts: Mapping[str, Any],
    *,
    key: signing.PrivateKey | None = None,
    promote: bool = True,
) -> Bundle:
    """Add a bundle to the store and, by default, make it the current one.

    The bundle is verified as in the service, then renamed to its version; the pointer follows
    last. A run that dies at any point leaves the store unchanged, except for a hidden folder that
    the next run removes.

    Args:
        store: The store's folder, created if it does not exist.
        files: Contents by plain file name, including `model.pt`.
        facts: The manifest's fields, without version, created_at and files.
        key: Key to sign the manifest with.
        promote: Make it the current one.

    Returns:
        The bundle, read back from the store.

    Raises:
        OSError: The store cannot be written to, or the disk is full.
        BundleError: The bundle breaks the manifest's schema or does not verify; nothing was
            published.
    """
    store.mkdir(parents=True, exist_ok=True)
    with lock(store):
        remove_leftovers(store)
        listed = {
            name: FileFacts(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in files.items()
        }
        created = _next_moment(store)
        version = f"{created.strftime(_VERSION_TIME)}-{listed[MODEL].sha256[:8]}"
        try:
            manifest = Manifest(version=version, created_at=created, files=listed, **facts)
        except ValidationError as error:
            raise SchemaUnsupported(f"No bundle is made: {schema_fault(error)}") from error
        text = manifest.model_dump_json(indent=2).encode() + b"\n"
        partial = store / f"{PARTIAL}{secrets.token_hex(4)}"
        try:
            partial.mkdir()
            for name, data in files.items():
                fsync.write(partial / name, data)
            fsync.write(partial / MANIFEST, text)
            if key is not None:
                fsync.write(partial / signing.SIGNATURE, signing.sign(key, text))
            fsync.sync_folder(partial)
            bundle = open_bundle(partial, trusted=[key.public_key()] if key else ())
            partial.rename(store / version)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        fsync.sync_folder(store)
        if promote:
            set_current(store, version)
    return dataclasses.replace(bundle, path=store / version)


def _next_moment(store: Path) -> datetime:
    """Return now, or the second after the newest version: versions sort even if clocks go back."""
    now = datetime.now(UTC).replace(microsecond=0)
    stamps = [name.split("-")[0] for name in versions(store)]
    with contextlib.suppress(IndexError, ValueError, OverflowError):  # a name that is not a time
        newest = datetime.strptime(stamps[-1], _VERSION_TIME).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return now
