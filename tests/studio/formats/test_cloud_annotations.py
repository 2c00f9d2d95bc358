"""IBM's `_annotations.json`."""

from typing import Any

import pytest

from studio.formats.cloud_annotations import read_cloud_annotations, write_cloud_annotations
from studio.problems import BadTable
from studio.versions.manifest import Entry, Manifest
from studio.versions.tree import export_tree


def test_a_project_is_read() -> None:
    document = {
        "version": "1.0",
        "type": "classification",
        "labels": ["mask", "no_mask"],
        "annotations": {
            "a.jpg": [{"label": "mask"}],
            "b.jpg": [{"label": "no_mask"}, {"label": "no_mask"}],
            "c.jpg": [],
            "d.jpg": [{"label": "unlabeled"}],
        },
    }
    assert read_cloud_annotations(document) == {
        "a.jpg": "mask",
        "b.jpg": "no_mask",
        "c.jpg": None,
        "d.jpg": None,
    }


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "annotations"),
        ({"annotations": []}, "annotations"),
        ({"type": "localization", "annotations": {}}, "object detection"),
        ({"type": "text", "annotations": {}}, "the type 'text'"),
        ({"annotations": {"a.jpg": "mask"}}, "a.jpg are not a list"),
        ({"annotations": {"a.jpg": [{"label": "a"}, {"label": "b"}]}}, "several labels"),
        ({"annotations": {"a.jpg": [{"label": 3}]}}, "not a text"),
        ({"annotations": {"a.jpg": [{"label": ["a"]}]}}, "not a text"),
        ({"annotations": {"a.jpg": [{}, {"label": {}}]}}, "not a text"),
    ],
)
def test_other_documents_have_reasons(document: Any, reason: str) -> None:
    with pytest.raises(BadTable, match=reason):
        read_cloud_annotations(document)


def test_what_is_written_is_read_again() -> None:
    entries = [
        Entry("1" * 64, "a.jpg", "mask", False, "eva", None, "chosen", True),
        Entry("2" * 64, "b.jpg", "mask", True, None, None, "chosen", True),
        Entry("3" * 64, "c.jpg", None, False, None, None, "random", False),
    ]
    manifest = Manifest.of(["mask", "rain"], entries)
    document = write_cloud_annotations(manifest, export_tree(manifest))
    assert document["labels"] == ["mask", "rain", "-"]
    assert read_cloud_annotations(document) == {
        "mask/a.jpg": "mask",
        "mask/b.jpg": "-",
        "c.jpg": None,
    }
