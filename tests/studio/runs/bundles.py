"""Bundles with out-of-fold answers, made without training."""

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.bundle.out_of_fold import Answer, format_answers
from models.bundle.store import promote
from studio.database import Database
from studio.runs.figures import figures_of, read_bundle, settings_of
from studio.runs.runs import add_run
from tests.service.fixtures import publish_bundle

LABELS = ("mask", "no_mask")


def digest(index: int) -> str:
    return hashlib.sha256(str(index).encode()).hexdigest()


def answers(
    count: int, wrong: Iterable[int] = (), *, first: int = 0, relabelled: Iterable[int] = ()
) -> list[Answer]:
    """Return answers to pictures; those with an index in `wrong` are answered wrongly."""
    drawn, bad, moved = random.Random(1), set(wrong), set(relabelled)
    found = []
    for index in range(first, first + count):
        label = LABELS[(index + (index in moved)) % 2]
        other = LABELS[(index + (index in moved) + 1) % 2]
        predicted = other if index in bad else label
        score = drawn.uniform(0.8, 0.99)
        found.append(
            Answer(
                file=f"{label}/{index:05}.jpg",
                sha256=digest(index),
                label=label,
                group=str(index),
                predicted=predicted,
                probabilities={name: score if name == predicted else 1 - score for name in LABELS},
            )
        )
    return found


def publish_run(
    store: Path,
    found: list[Answer] | None,
    *,
    live: bool = False,
    report: bool = True,
    tests: list[Answer] | None = None,
    answered: float = 0.9,
) -> str:
    """Publish a bundle, and return its version; it is live only if asked for."""
    before = (store / "CURRENT").read_text().strip() if (store / "CURRENT").exists() else None
    documents: dict[str, bytes] = {}
    if found is not None:
        documents["out_of_fold.csv"] = format_answers(found, LABELS)
        correct = sum(answer.correct for answer in found)
        summary = {
            "cross_validation": {
                "accuracy": correct / len(found),
                "accuracy_interval_95": [0.9, 1.0],
                "confusion": [[correct, len(found) - correct], [0, 0]],
            },
            "decision": {"coverage": answered},
            "audit": [{"level": "warning", "message": "Two pictures are copies."}],
        }
        documents["summary.json"] = json.dumps(summary).encode()
    if tests is not None:
        documents["test_answers.csv"] = format_answers(tests, LABELS)
    if report:
        documents["report.html"] = b"<!doctype html><title>Report</title>"
    version = publish_bundle(store, LABELS, documents).manifest.version
    if not live:
        if before is None:
            (store / "CURRENT").unlink()
            (store / "HISTORY").unlink()
        else:
            promote(store, before)
    return version


def run_of(database: Database, store: Path, project: int, bundle: str, **changes: Any) -> int:
    """Record a bundle as a run of a project."""
    manifest, summary = read_bundle(store / bundle)
    return add_run(
        database,
        project=project,
        job=None,
        version=None,
        bundle=bundle,
        by="ann",
        figures=figures_of(manifest, summary),
        settings=settings_of(manifest) | changes,
    )
