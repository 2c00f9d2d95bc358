"""Exports of a version: a zip of folders, or annotations of another tool."""

import json
import string
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from studio.formats.cloud_annotations import FILE, write_cloud_annotations
from studio.formats.label_studio import write_label_studio
from studio.pictures.blobs import BlobStore
from studio.versions.manifest import Manifest
from studio.versions.tree import Tree, export_tree

Format = Literal["zip", "label-studio", "cloud-annotations"]

_NAME_CHARS: Final = frozenset(string.ascii_letters + string.digits + "-_")
# Equal pictures give equal archives: the time of the files is not their content.
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_WRITERS: Final[dict[str, Callable[[Manifest, Tree], Any]]] = {
    "label-studio": write_label_studio,
    "cloud-annotations": write_cloud_annotations,
}


def write_zip(manifest: Manifest, blobs: BlobStore, target: BinaryIO) -> None:
    """Write a version's pictures as a zip, with labels.csv and groups.csv.

    Pictures are stored as they are, uncompressed, one after the other.

    Raises:
        NotFound: A picture's file is missing.
        OSError: The disk is full or fails.
    """
    tree = export_tree(manifest)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in tree.tables().items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), content)
        for path, sha256 in tree.files.items():
            archive.writestr(zipfile.ZipInfo(path, _TIME), blobs.read(sha256))


def write_annotations(manifest: Manifest, format: Format) -> bytes:
    """Return a version's labels as JSON of another tool; its files are named as in the zip."""
    document = _WRITERS[format](manifest, export_tree(manifest))
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def file_name(format: Format, project: str, number: int) -> str:
    """Return the name of an export's file."""
    if format == "cloud-annotations":
        return FILE
    stem = "".join(char if char in _NAME_CHARS else "-" for char in project)[:60]
    return f"{stem}-v{number}.{'zip' if format == 'zip' else 'json'}"


def write_folder(manifest: Manifest, blobs: BlobStore, target: Path) -> int:
    """Copy a version's pictures into a folder, with its tables, and return their number.

    Raises:
        NotFound: A picture's file is missing.
        OSError: The disk is full or fails, or a file is there already.
    """
    tree = export_tree(manifest)
    for path, sha256 in tree.files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "xb") as handle:
            handle.write(blobs.read(sha256))
    for name, content in tree.tables().items():
        (target / name).write_bytes(content)
    return len(tree.files)
