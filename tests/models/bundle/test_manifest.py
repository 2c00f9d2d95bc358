"""Manifest: round trip, immutability, schema violations."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from models.bundle.manifest import SCHEMA_VERSION, FileFacts, Manifest
from tests.models.tiny_bundle import bundle_facts

FRAMING = {"framer": "f", "searched": 9, "framed": 8, "margins": [0.5] * 4, "beyond": 0.3}


@pytest.fixture
def fields(tiny_model: bytes) -> dict[str, Any]:
    return {
        "version": "20300101T000000Z-0123abcd",
        "created_at": datetime(2030, 1, 1, tzinfo=UTC),
        "files": {"model.pt": FileFacts(bytes=3, sha256="a" * 64)},
    } | bundle_facts(tiny_model)


def test_manifest_survives_a_round_trip(fields: dict[str, Any]) -> None:
    manifest = Manifest(**fields)
    again = Manifest.model_validate_json(manifest.model_dump_json(indent=2))
    assert again == manifest
    assert again.golden.pictures[0].picture.startswith(b"\x89PNG")


def test_manifest_writes_its_schema_version(fields: dict[str, Any]) -> None:
    assert Manifest(**fields).model_dump()["schema_version"] == SCHEMA_VERSION == 1


def test_manifest_is_frozen(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Manifest(**fields).labels = ["other"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"labels": ["only"]}, "labels"),
        ({"labels": ["a", "b", "c"]}, "a golden answer is not one of 3 labels"),
        ({"input_px": -1}, "input_px"),
        ({"version": "v1"}, "version"),
        ({"unknown": 1}, "unknown"),
        ({"schema_version": 0}, "schema_version"),
        ({"precision": {"name": "int8"}}, "int8 names its engine"),
        ({"precision": {"engine": "onednn"}}, "fp32 has none"),
        ({"framing": FRAMING}, "framing needs familiarity"),
        ({"framing": FRAMING | {"margins": [0.5] * 3}}, "framing.margins"),
        ({"framing": FRAMING | {"margins": [0.5, 0.5, 0.5, -1]}}, "framing.margins.3"),
        ({"framing": FRAMING | {"beyond": float("nan")}}, "framing.beyond"),
        ({"files": {"../x": {"bytes": 1, "sha256": "a" * 64}}}, "plain file name"),
        ({"files": {"x": {"bytes": 1, "sha256": "A" * 64}}}, "sha256"),
        ({"labels": ["cat", "cat"]}, "'cat' is repeated"),
        ({"labels": ["b\u00e4r", "ba\u0308r"]}, "is repeated"),  # NFC and NFD
        ({"labels": ["cat", ""]}, "blank"),
        ({"labels": ["cat", " \u00a0"]}, "blank"),
        ({"labels": ["cat", "d" * 256]}, "255 characters"),
        ({"labels": [str(index) for index in range(1001)]}, "1000 items"),
        ({"labels": ["cat", "do\ng"]}, "cannot be shown"),
        ({"labels": ["cat", "\x1b[31mdog"]}, "cannot be shown"),
        ({"labels": ["cat", "\u202egod"]}, "cannot be shown"),
        ({"files": {"a\nb": {"bytes": 1, "sha256": "a" * 64}}}, "cannot be shown"),
        ({"decoder": "x\x1b"}, "cannot be shown"),
    ],
)
def test_schema_violation_names_its_field(
    fields: dict[str, Any], change: dict[str, Any], where: str
) -> None:
    with pytest.raises(ValidationError, match=where):
        Manifest(**(fields | change))


@pytest.mark.parametrize(
    "scores",
    [
        {"mean_score": "high"},
        {"mean_score": "0.9"},
        {"mean_score": [0.9]},
        {"mean_score": True},
        {"mean_score": float("nan")},
        {"balanced_accuracy": {"x": 1}},
        {"balanced_accuracy": 1e300},
        {"balanced_accuracy": -0.1},
        ["high"],
        "high",
        None,
    ],
)
def test_figures_that_programs_read_are_checked(fields: dict[str, Any], scores: Any) -> None:
    with pytest.raises(ValidationError, match="cross_validation"):
        Manifest(**(fields | {"metrics": {"cross_validation": scores}}))


@pytest.mark.parametrize(
    "metrics",
    [{}, {"cross_validation": {}}, {"tests": {"a": [1]}, "cross_validation": {"mean_score": 1}}],
)
def test_other_metrics_are_kept_as_they_are(
    fields: dict[str, Any], metrics: dict[str, Any]
) -> None:
    manifest = Manifest(**(fields | {"metrics": metrics}))
    assert manifest.metrics == metrics
    assert manifest.scores.mean_score == metrics.get("cross_validation", {}).get("mean_score")


def test_labels_of_macos_folders_are_opened_in_nfc(fields: dict[str, Any]) -> None:
    assert Manifest(**(fields | {"labels": ["ba\u0308r", "dog"]})).labels == ["b\u00e4r", "dog"]
