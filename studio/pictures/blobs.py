"""Files of pictures by the SHA-256 of their bytes, and their thumbnails.

A file is complete and on disk before its name exists: it is written under a temporary name, synced
and renamed. Thumbnails can be made again, so they are renamed into place without a sync.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from models.bundle import fsync
from models.cpu import usable_cores
from models.imaging.decode import OrientedImage
from models.imaging.open import open_image
from studio.problems import NotFound

THUMBNAIL_EDGES_PX: Final = (160, 640)
"""Longer sides of thumbnails."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_INCOMING_S: Final = 24 * 3600
_DISK_THREADS: Final = 16  # syncs in parallel: 64 files took a tenth of the time

T = TypeVar("T")
U = TypeVar("U")


class BlobStore:
    """The files of all projects' pictures."""

    def __init__(self, folder: Path) -> None:
        """Prepare a store; its folders are made at the first write.

        Args:
            folder: The studio's data folder.
        """
        self.folder = folder
        self._blobs = folder / "blobs"
        self._thumbnails = folder / "thumbnails"
        self._incoming = folder / "incoming"
        self._disk = ThreadPoolExecutor(_DISK_THREADS, "disk")
        self._decoders = ThreadPoolExecutor(max(1, usable_cores()), "decode")
        self._making = threading.Semaphore(max(1, usable_cores()))

    def path(self, sha256: str) -> Path:
        """Return the path of a picture's file, which need not exist.

        Raises:
            NotFound: It is not a digest.
        """
        if not _SHA256.fullmatch(sha256):
            raise NotFound("A picture is named by 64 hexadecimal digits.")
        return self._blobs / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Return True if a picture's file is there."""
        return self.path(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        """Return a picture's file.

        Raises:
            NotFound: It is not there.
        """
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"There is no picture {sha256}.") from error

    def decode_each(self, function: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Return a function's results, computed on as many threads as there are cores."""
        return list(self._decoders.map(function, items))

    def add(self, files: Mapping[str, bytes], thumbnails: Mapping[str, bytes]) -> None:
        """Store files by their digests; on return, they survive a power cut.

        Args:
            files: Content by SHA-256.
            thumbnails: Small thumbnails by SHA-256 of the picture.

        Raises:
            OSError: The disk is full or fails.
        """
        new = {sha256: data for sha256, data in files.items() if not self.has(sha256)}
        folders = {self.path(sha256).parent for sha256 in new}
        made = [folder for folder in folders if not folder.is_dir()]
        for folder in [self._incoming, *made]:
            folder.mkdir(parents=True, exist_ok=True)
        for sha256, data in thumbnails.items():
            self._write_thumbnail(self._thumbnail_path(sha256, THUMBNAIL_EDGES_PX[0]), data)
        self._on_disk(self._write, new.items())
        self._on_disk(fsync.sync_folder, [*folders, self._blobs] if made else folders)

    def delete(self, digests: Iterable[str]) -> int:
        """Delete files and their thumbnails; return how many files there were.

        Raises:
            OSError: The disk fails.
        """
        found = [sha256 for sha256 in digests if self.has(sha256)]
        self._on_disk(self._delete, found)
        return len(found)

    def thumbnail(self, sha256: str, longest_px: int) -> bytes:
        """Return a thumbnail as JPEG; it is made at its first use.

        Raises:
            NotFound: There is no such picture.
            PictureError: The picture can no longer be decoded.
        """
        path = self._thumbnail_path(sha256, longest_px)
        try:
            if data := path.read_bytes():  # empty after a power cut: made again
                return data
        except FileNotFoundError:
            pass
        with self._making:
            image = OrientedImage(open_image(self.read(sha256)), longest_px=longest_px)
            data = image.jpeg(longest_px)
        self._write_thumbnail(path, data)
        return data

    def clean_up(self) -> None:
        """Remove leftovers of interrupted uploads; another process may be receiving new ones."""
        oldest = time.time() - _MAX_INCOMING_S
        for path in self._incoming.glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def incoming(self) -> Path:
        """Return a new path for a file that is being received."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        return self._incoming / uuid4().hex

    def close(self) -> None:
        """End the threads."""
        self._disk.shutdown()
        self._decoders.shutdown()

    def _on_disk(self, function: Callable[[T], None], items: Iterable[T]) -> None:
        """Call a function for each item, and wait for all of them even if one fails.

        Raises:
            OSError: The disk is full or fails.
        """
        calls = [self._disk.submit(function, item) for item in items]
        wait(calls)
        for call in calls:
            call.result()

    def _write(self, item: tuple[str, bytes]) -> None:
        sha256, data = item
        beside = self.incoming()
        try:
            fsync.write(beside, data)
            beside.replace(self.path(sha256))
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def _delete(self, sha256: str) -> None:
        for longest_px in THUMBNAIL_EDGES_PX:
            self._thumbnail_path(sha256, longest_px).unlink(missing_ok=True)
        self.path(sha256).unlink(missing_ok=True)

    def _thumbnail_path(self, sha256: str, longest_px: int) -> Path:
        self.path(sha256)
        return self._thumbnails / str(longest_px) / sha256[:2] / f"{sha256}.jpg"

    def _write_thumbnail(self, path: Path, data: bytes) -> None:
        if path.is_file() and path.stat().st_size:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{uuid4().hex}")
        beside.write_bytes(data)
        beside.replace(path)
