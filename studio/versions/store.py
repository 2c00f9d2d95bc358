"""Files of manifests, by the SHA-256 of their content."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Final
from uuid import uuid4

from models.bundle import fsync
from studio.problems import NotFound
from studio.versions.manifest import Manifest

_COMPRESSION: Final = 6


class VersionStore:
    """The manifests of all projects."""

    def __init__(self, folder: Path) -> None:
        """Prepare a store.

        Args:
            folder: The studio's data folder.
        """
        self._folder = folder / "versions"
        self.changes: dict[tuple[int, int, str], int] = {}
        """Changes since a version, by project, its revision and the version's digest."""

    def path(self, digest: str) -> Path:
        """Return the path of a manifest's file."""
        return self._folder / f"{digest}.jsonl.gz"

    def write(self, manifest: Manifest) -> tuple[str, int]:
        """Store a manifest on disk; return its digest and the bytes of its file.

        Raises:
            OSError: The disk is full or fails.
        """
        data = manifest.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest)
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.{uuid4().hex}")
            fsync.write(beside, gzip.compress(data, _COMPRESSION, mtime=0))
            beside.replace(path)
            fsync.sync_folder(self._folder)
        return digest, path.stat().st_size

    def read(self, digest: str) -> Manifest:
        """Return a manifest, verified by its digest.

        Raises:
            NotFound: Its file is missing or damaged.
        """
        try:
            data = gzip.decompress(self.path(digest).read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise NotFound("The manifest of this version cannot be read.") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise NotFound("The manifest of this version is damaged.")
        return Manifest.from_bytes(data)
