"""Manifest: round trip, immutability, schema violations."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from models.bundle.manifest import SCHEMA_VERSION, FileFacts, Manifest
from tests.models.tiny_bundle import bundle_facts


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
        ({"files": {"../x": {"bytes": 1, "sha256": "a" * 64}}}, "plain file name"),
        ({"files": {"x": {"bytes": 1, "sha256": "A" * 64}}}, "sha256"),
    ],
)
def test_schema_violation_names_its_field(
    fields: dict[str, Any], change: dict[str, Any], where: str
) -> None:
    with pytest.raises(ValidationError, match=where):
        Manifest(**(fields | change))
