"""Output of a run: a folder of Parquet shards and a manifest, local or by fsspec URL.

A local shard is written to a temporary file, synced and renamed; an object store puts an object in
one step. So an existing shard is complete.
"""

import contextlib
import io
import json
import os
import posixpath
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from models.bundle.fsync import sync_folder, write
from models.text import clean
from scoring.errors import OutputTaken, OutputUnusable, ShardsMissing
from scoring.inputs.entry import reason_of

MANIFEST: Final = "_manifest.json"
"""Readers of a folder of Parquet files skip names that begin with an underscore."""

_SHARD: Final = re.compile(r"\d{7}-[0-9a-f]{20}\.parquet")
_PARTIAL: Final = re.compile(r"\.(\d{7}-[0-9a-f]{20}\.parquet|_manifest\.json)\..*\.partial")


class Output:
    """The folder that shards are written to."""

    def __init__(self, address: str, *, create: bool = False) -> None:
        """Open the folder.

        Args:
            address: Path or URL.
            create: Create it if there is none.

        Raises:
            OutputUnusable: It cannot be created.
        """
        self.address = address
        try:
            self._fs, self._root = fsspec.core.url_to_fs(address)
            self._is_local = isinstance(self._fs, LocalFileSystem)
            if create:
                self._fs.makedirs(self._root, exist_ok=True)
        except (ImportError, OSError, ValueError) as error:
            raise self._unusable(error) from error

    def shards(self) -> set[str]:
        """Return the names of the shards that are complete."""
        return set(filter(_SHARD.fullmatch, self._names()))

    def write_shard(self, name: str, table: pa.Table) -> None:
        """Write one shard in one step; the same name always gets the same bytes.

        Raises:
            OutputUnusable: The folder or the disk does not take it.
        """
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self._write(name, buffer.getvalue())

    def read_shard(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns of one shard.

        Raises:
            OutputUnusable: It cannot be read.
        """
        try:
            with self._fs.open(self._path(name), "rb") as file:
                # On this thread alone: one of Arrow's that still frees a buffer of the file while
                # the interpreter ends would abort the process.
                return pq.ParquetFile(file, pre_buffer=False).read(
                    columns and list(columns), use_threads=False
                )
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unusable(error, name) from error

    def require_own(self, names: Sequence[str], *, replace: bool) -> None:
        """Raise if the folder has shards of another run.

        Raises:
            OutputTaken: It holds other shards, which a reader of all files would count, too.
        """
        others = self.shards() - set(names)
        if others and not replace:
            raise OutputTaken(
                clean(
                    f"{self.address} holds {len(others)} shards of another model, of other inputs "
                    "or of other options: choose another folder, or --replace to remove them "
                    "when this run is complete."
                )
            )

    def complete(self, names: Sequence[str], facts: dict[str, Any]) -> None:
        """Remove leftovers of other and interrupted runs, and write the manifest.

        Raises:
            OutputUnusable: The folder or the disk does not take it.
        """
        own = {*names, MANIFEST}
        with self._guard():
            for name in self._names():
                partial = _PARTIAL.fullmatch(name)
                if (partial and partial[1] in own) or (_SHARD.fullmatch(name) and name not in own):
                    with contextlib.suppress(FileNotFoundError):  # another process was first
                        self._fs.rm_file(self._path(name))
        self._write(MANIFEST, json.dumps({**facts, "shards": list(names)}, indent=1).encode())

    def manifest(self) -> dict[str, Any]:
        """Return the manifest.

        Raises:
            ShardsMissing: The run is not complete.
            OutputUnusable: The manifest cannot be read.
        """
        try:
            manifest: dict[str, Any] = json.loads(self._fs.cat_file(self._path(MANIFEST)))
        except FileNotFoundError as error:
            raise ShardsMissing(
                clean(f"{self.address} has no {MANIFEST}: run the same command again to go on.")
            ) from error
        except (OSError, ValueError) as error:
            raise self._unusable(error, MANIFEST) from error
        return manifest

    def _write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        with self._guard():
            if not self._is_local:
                self._fs.pipe_file(path, data)
                return
            partial = Path(self._path(f".{name}.{socket.gethostname()}-{os.getpid()}.partial"))
            try:
                write(partial, data)
                _rename(partial, path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            sync_folder(Path(self._root))

    def _names(self) -> list[str]:
        with self._guard():
            self._fs.invalidate_cache(self._root)
            try:
                paths = self._fs.ls(self._root, detail=False)
            except FileNotFoundError:  # object stores have no empty folders
                return []
            return [posixpath.basename(path) for path in paths]

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: BaseException, name: str = "") -> OutputUnusable:
        place = posixpath.join(self.address, name) if name else self.address
        return OutputUnusable(clean(f"{place} cannot be used ({reason_of(error)})."))


def _rename(partial: Path, path: str) -> None:
    """Give a file its final name, unless a process that completed the run has removed it."""
    try:
        partial.replace(path)
    except FileNotFoundError:
        if not Path(path).exists():
            raise
