"""IBM Cloud Annotations' and CV Studio's `_annotations.json`, of classification projects.

{"version": "1.0", "type": "classification", "labels": ["mask", "no_mask"],
 "annotations": {"a.jpg": [{"label": "mask"}], "b.jpg": []}}
"""

from collections.abc import Mapping
from typing import Any, Final

from studio.problems import BadTable
from studio.projects.classes import LEFT_OUT
from studio.versions.manifest import Manifest
from studio.versions.tree import Tree

FILE: Final = "_annotations.json"
"""Name of the file beside the pictures."""

_VERSION: Final = "1.0"
_TYPES: Final = ("classification", "localization")


def read_cloud_annotations(document: Any) -> dict[str, str | None]:
    """Return label by name of picture; None for pictures without one.

    Raises:
        BadTable: It is not as documented, or is of object detection.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("annotations"), Mapping):
        raise BadTable(f"{FILE} needs the object 'annotations', a list of labels by file.")
    kind = document.get("type", _TYPES[0])
    if kind != _TYPES[0]:
        what = "object detection" if kind == _TYPES[1] else f"the type {kind!r}"
        raise BadTable(f"{FILE} is of {what}: the studio reads the type 'classification'.")
    found: dict[str, str | None] = {}
    for name, marks in document["annotations"].items():
        if not isinstance(marks, list) or not all(isinstance(mark, Mapping) for mark in marks):
            raise BadTable(f"{FILE}: the annotations of {name} are not a list of objects.")
        given = [mark.get("label") for mark in marks]
        if not all(isinstance(label, str) for label in given):
            raise BadTable(f"{FILE}: the label of {name} is not a text.")
        labels = list(dict.fromkeys(given))
        if len(labels) > 1:
            raise BadTable(f"{FILE}: {name} has several labels; a picture has one class here.")
        # CV Studio writes this for a picture without a label.
        found[name] = labels[0] if labels and labels[0] != "unlabeled" else None
    return found


def write_cloud_annotations(manifest: Manifest, tree: Tree) -> dict[str, Any]:
    """Return the annotations of a version; pictures that are left out have the label "-".

    Args:
        manifest: The version.
        tree: Its files.
    """
    entries = {one.sha256: one for one in manifest.entries}
    annotations = {}
    for path, sha256 in tree.files.items():
        label = entries[sha256].shown_label
        annotations[path] = [] if label is None else [{"label": label}]
    left_out = any(one.left_out for one in manifest.entries)
    return {
        "version": _VERSION,
        "type": _TYPES[0],
        "labels": [*manifest.classes, *([LEFT_OUT] if left_out else [])],
        "annotations": annotations,
    }
