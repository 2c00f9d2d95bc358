"""Figures of a run, for its table and its page, from the documents of its bundle."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from models.bundle.files import REPORT, read_listed_file, read_manifest
from models.bundle.manifest import Manifest
from models.errors import BundleIncomplete
from models.text import clean

SUMMARY: Final = "summary.json"

_MAX_NOTES: Final = 8


def read_bundle(path: Path) -> tuple[Manifest, dict[str, Any]]:
    """Return the manifest and the summary of a bundle; the summary is empty if it has none.

    Raises:
        BundleError: A file is missing, has changed, or cannot be read.
    """
    manifest = read_manifest(path)
    if SUMMARY not in manifest.files:
        return manifest, {}
    try:
        summary = json.loads(read_listed_file(path, manifest, SUMMARY))
    except (ValueError, RecursionError) as error:
        raise BundleIncomplete(f"{path / SUMMARY} is not JSON.") from error
    return manifest, summary if isinstance(summary, dict) else {}


def read_report(path: Path) -> bytes | None:
    """Return the report of a bundle; None if it has none.

    Raises:
        BundleError: A file is missing, has changed, or cannot be read.
    """
    manifest = read_manifest(path)
    return read_listed_file(path, manifest, REPORT) if REPORT in manifest.files else None


def figures_of(
    manifest: Manifest,
    summary: Mapping[str, Any],
    *,
    started_at: str | None = None,
    ended_at: str | None = None,
) -> dict[str, Any]:
    """Return the figures for the table of runs.

    Args:
        manifest: The bundle's manifest.
        summary: Its summary.
        started_at: When the training began, ISO 8601.
        ended_at: When it ended.
    """
    metrics = summary.get("cross_validation") or manifest.metrics.get("cross_validation") or {}
    decision = summary.get("decision") or {}
    speed = manifest.precision.images_per_s.get(manifest.precision.name)
    confusion = metrics.get("confusion")
    pictures = sum(manifest.dataset.pictures.values())
    correct = sum(row[k] for k, row in enumerate(confusion)) if confusion else None
    judged = sum(map(sum, confusion)) if confusion else None
    return {
        "backbone": manifest.backbone.name,
        "precision": manifest.precision.name,
        "crop": manifest.crop.name,
        "labels": manifest.labels,
        "accuracy": _figure(metrics, "accuracy"),
        "balanced_accuracy": _figure(metrics, "balanced_accuracy"),
        "answered": {"value": decision.get("coverage", manifest.decision.coverage)},
        "threshold": manifest.decision.threshold,
        "wrong": None if correct is None or judged is None else judged - correct,
        "judged": judged,
        "pictures": pictures,
        "pictures_by_class": manifest.dataset.pictures,
        "groups": manifest.dataset.groups,
        "confusion": {"labels": manifest.labels, "rows": confusion} if confusion else None,
        "ms_per_picture": round(1000 / speed, 2) if speed else None,
        "seconds": _seconds(started_at, ended_at),
        "notes": _notes(summary),
        "tests": {
            str(name): {"accuracy": _figure(test, "accuracy"), "pictures": test.get("pictures")}
            for name, test in (summary.get("tests") or {}).items()
        },
    }


def settings_of(manifest: Manifest) -> dict[str, Any]:
    """Return the settings of a run, in which two runs may differ."""
    return {
        "backbone": manifest.backbone.name,
        "precision": manifest.precision.name,
        "crop": manifest.crop.name,
        "input_px": manifest.input_px,
        "decoder": manifest.decoder,
        **{
            name: value
            for name, value in manifest.config.items()
            if name not in ("backbone", "precision", "crop")
        },
        **{f"package {name}": version for name, version in manifest.packages.items()},
    }


def sentence_of(figures: Mapping[str, Any]) -> str:
    """Return one plain sentence on how good a model is."""
    judged, wrong = figures.get("judged"), figures.get("wrong")
    if not judged or wrong is None:
        return "This model was published without figures."
    interval = figures.get("accuracy") or {}
    text = f"Of {judged:,} pictures that it had not learned from, {judged - wrong:,} were right"
    if interval.get("low") is not None:
        low, high = 100 * interval["low"], 100 * interval["high"]
        text += f"; of 100 new ones, expect {low:.0f} to {high:.0f} on average"
    return f"{text}."


def _figure(metrics: Mapping[str, Any], name: str) -> dict[str, float] | None:
    value, interval = metrics.get(name), metrics.get(f"{name}_interval_95")
    if value is None:
        return None
    low, high = interval if interval else (None, None)
    return {"value": value, "low": low, "high": high}


def _seconds(started_at: str | None, ended_at: str | None) -> float | None:
    if not started_at or not ended_at:
        return None
    start, end = map(datetime.fromisoformat, (started_at, ended_at))
    return round((end - start).total_seconds(), 1)


def _notes(summary: Mapping[str, Any]) -> list[str]:
    findings = summary.get("audit") or []
    serious = [f for f in findings if f.get("level") in ("error", "warning")]
    return [clean(str(finding.get("message", ""))) for finding in serious[:_MAX_NOTES]]
