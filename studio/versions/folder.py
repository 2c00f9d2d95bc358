"""A version as a folder to train on: links to the stored files, under their own names."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from studio.database import Database
from studio.pictures.blobs import BlobStore
from studio.versions.manifest import Manifest
from studio.versions.store import VersionStore
from studio.versions.tree import Tree, test_trees, training_tree
from studio.versions.versions import present_manifest, version_row

FILES: Final = "files.json"
"""Name of the file, beside the folders, with the digest of each file by its path."""


@dataclass(frozen=True)
class Materialised:
    """A version as folders.

    Attributes:
        data: Folder of the training pictures.
        tests: Name and folder of each frozen test set.
        files: Digest by path below `data`.
    """

    data: Path
    tests: list[tuple[str, Path]]
    files: dict[str, str]


def materialise(
    database: Database,
    store: VersionStore,
    blobs: BlobStore,
    project_id: int,
    version_id: int,
    target: Path,
) -> Materialised:
    """Make a version's folders; the same version gives the same names and bytes.

    Raises:
        NotFound: There is no such version, or a picture's file is missing.
        OSError: The disk is full or fails.
    """
    with database.read() as connection:
        digest = version_row(connection, project_id, version_id).digest
    return _materialise(store.read(digest), blobs, target)


def materialise_present(
    database: Database, blobs: BlobStore, project_id: int, target: Path
) -> Materialised:
    """Make the folders of what a project holds now.

    Raises:
        NotFound: There is no such project, or a picture's file is missing.
        OSError: The disk is full or fails.
    """
    with database.read() as connection:
        manifest = present_manifest(connection, project_id)
    return _materialise(manifest, blobs, target)


def read_files(target: Path) -> dict[str, str]:
    """Return the digest of each training picture by its path, of folders that were made before."""
    found: dict[str, str] = json.loads((target / FILES).read_bytes())
    return found


def _materialise(manifest: Manifest, blobs: BlobStore, target: Path) -> Materialised:
    shutil.rmtree(target, ignore_errors=True)
    training = training_tree(manifest)
    _link(training, blobs, target / "data")
    tests = []
    for number, (name, tree) in enumerate(test_trees(manifest).items(), start=1):
        folder = target / "test" / (name.replace("/", "_") or str(number))
        _link(tree, blobs, folder)
        tests.append((name, folder))
    (target / FILES).write_text(json.dumps(training.files), encoding="utf-8")
    return Materialised(target / "data", tests, training.files)


def _link(tree: Tree, blobs: BlobStore, folder: Path) -> None:
    folder.mkdir(parents=True)
    for parent in sorted({(folder / path).parent for path in tree.files}):
        parent.mkdir(parents=True, exist_ok=True)
    for path, sha256 in tree.files.items():
        source, link = blobs.path(sha256), folder / path
        try:
            os.link(source, link)
        except FileNotFoundError:
            blobs.read(sha256)  # raises with the digest
            raise
        except OSError:  # another file system, or one without hard links
            link.symlink_to(source.resolve())
    for name, content in tree.tables().items():
        (folder / name).write_bytes(content)
