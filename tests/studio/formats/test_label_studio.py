"""Label Studio's JSON, as it exports and imports it."""

from typing import Any

import pytest

from studio.formats.label_studio import read_label_studio, write_label_studio
from studio.formats.matching import name_of_address
from studio.problems import BadTable
from studio.versions.manifest import Entry, Manifest
from studio.versions.tree import export_tree


def task(image: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations), "predictions": []}


def annotation(*choices: str, cancelled: bool = False) -> dict[str, Any]:
    result = {
        "value": {"choices": list(choices)},
        "id": "k3",
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "origin": "manual",
    }
    return {
        "id": 7,
        "completed_by": 1,
        "result": [result] if choices else [],
        "was_cancelled": cancelled,
        "ground_truth": False,
    }


def choices(value: Any) -> dict[str, Any]:
    return {"result": [{"type": "choices", "value": {"choices": value}}]}


def test_an_export_is_read() -> None:
    document = [
        task("/data/upload/1/3f2a9c1b-a.jpg", annotation("mask")),
        task("/data/upload/1/b.jpg", annotation("mask"), annotation("no mask")),
        task("s3://bucket/c.jpg", annotation("mask"), annotation("no mask", cancelled=True)),
        task("https://host/x/d%20e.jpg?sig=1", annotation(cancelled=True)),
        task("/data/local-files/?d=set/mask/f.jpg"),
        task("g.jpg", annotation()),
    ]
    assert read_label_studio(document) == {
        "/data/upload/1/3f2a9c1b-a.jpg": "mask",
        "/data/upload/1/b.jpg": "no mask",
        "/c.jpg": "mask",
        "/x/d e.jpg": "-",
        "set/mask/f.jpg": None,
        "g.jpg": None,
    }


def test_a_short_export_is_read() -> None:
    document = [
        {"image": "/data/upload/1/a.jpg", "id": 1, "choice": "mask", "annotator": 1},
        {"image": "/data/upload/1/b.jpg", "id": 2, "label": {"choices": ["no"]}},
        {"img": "c.jpg", "id": 3},
    ]
    assert list(read_label_studio(document).values()) == ["mask", "no", None]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "list of tasks"),
        (["a"], "list of tasks"),
        ([{"data": {}}], "names no picture"),
        ([task("a.jpg", annotation("a", "b"))], "several choices"),
        ([{"data": {"image": "a.jpg"}, "annotations": 3}], "not a list"),
        ([task("a.jpg", {"result": 5})], "result of an annotation is not a list"),
        ([task("a.jpg", choices(3))], "not a text"),
        ([{"image": "a.jpg", "choice": [["a"]]}], "not a text"),
        ([task("a.jpg", annotation("a")), task("a%2ejpg", annotation("b"))], "another label"),
    ],
)
def test_other_documents_have_reasons(document: Any, reason: str) -> None:
    with pytest.raises(BadTable, match=reason):
        read_label_studio(document)


@pytest.mark.parametrize(
    ("tasks", "label"),
    [
        ([task("a.jpg", choices("mask"))], "mask"),  # not a list
        ([task("a.jpg", {"result": None})], None),
        ([task("a.jpg", {"result": [{"type": "choices", "value": None}]})], None),
        ([{"image": "a.jpg", "choice": ["mask"]}], "mask"),
        ([{"image": "a.jpg", "choice": {"choices": None}}], None),
        ([task("a.jpg"), task("a.jpg", annotation("mask")), task("a.jpg")], "mask"),
    ],
)
def test_unusual_documents_are_read(tasks: Any, label: str | None) -> None:
    assert read_label_studio(tasks) == {"a.jpg": label}


def test_what_is_written_is_read_again() -> None:
    entries = [
        Entry("1" * 64, "a.jpg", "mask", False, "eva", None, "chosen", True),
        Entry("2" * 64, "b.jpg", "mask", True, None, None, "chosen", True),
        Entry("3" * 64, "c.jpg", None, False, None, None, "random", False),
        Entry("4" * 64, "d.jpg", None, True, None, None, "random", True),
    ]
    manifest = Manifest.of(["mask"], entries)
    tree = export_tree(manifest)
    tasks = write_label_studio(manifest, tree)
    assert read_label_studio(tasks) == {
        "mask/a.jpg": "mask",
        "mask/b.jpg": "-",
        "c.jpg": None,
        "d.jpg": "-",
    }
    metas = {one["data"]["image"]: one["meta"] for one in tasks}
    assert metas["mask/a.jpg"] == {"sha256": "1" * 64, "group": "eva"}
    assert metas["c.jpg"] == {"sha256": "3" * 64}


def test_name_of_address() -> None:
    assert name_of_address("/tasks/1/resolve/?fileuri=a.jpg") == "a.jpg"
    assert name_of_address("http://[::1/a.jpg") == "http://[::1/a.jpg"


@pytest.mark.parametrize("name", ["a?b.jpg", "a#b.jpg", "a:b.jpg", "100%25.jpg", "http:/x.jpg"])
def test_signs_of_addresses_in_a_name_come_back(name: str) -> None:
    manifest = Manifest.of(
        ["x:y?"], [Entry("1" * 64, name, "x:y?", False, None, None, "chosen", True)]
    )
    tree = export_tree(manifest)
    (path,) = tree.files
    assert path.startswith("x:y?/")
    assert read_label_studio(write_label_studio(manifest, tree)) == {path: "x:y?"}
